//! Compression of responses (manual, `compression`): whether, how, and the encoder.

use crate::stream::Stream;
use crate::worker::Worker;
use flate2::Compression as Level;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::framing::Body;
use http::{Head, Known, Version};
use model::{Compression, CompressionAlgo, Proxy};
use std::io::Write;
use std::sync::Arc;

/// What the backend says about compression, else what the frontend says.
fn setting<T>(
    front: &Proxy,
    back: Option<&Proxy>,
    part: impl Fn(&Compression) -> Option<T>,
) -> Option<T> {
    let of = |proxy: &Proxy| proxy.http.compression.as_deref().and_then(&part);
    back.and_then(of).or_else(|| of(front))
}

/// Reads from the request what the client takes, and with `offload` hides that from the server, which is
/// then spared the work.
pub fn read_request(stream: &mut Stream<'_>) {
    let set = |proxy: &Arc<Proxy>| proxy.http.compression.is_some();
    let back = stream.backend.as_ref().is_some_and(|b| set(b.proxy()));
    if !back && !set(stream.frontend.proxy()) {
        return;
    }
    let front = Arc::clone(stream.frontend.proxy());
    let back = stream.backend.as_ref().map(|b| Arc::clone(b.proxy()));
    let algos = setting(&front, back.as_deref(), |c| {
        (!c.algos.is_empty()).then(|| c.algos.clone())
    });
    let Some(algos) = algos else {
        return;
    };
    stream.compression = wanted(&stream.request, &algos);
    let offload = || setting(&front, back.as_deref(), |c| c.offload.then_some(()));
    // A client that can read nothing of ours may still get what the server can do.
    if stream.compression.is_some() && offload().is_some() {
        stream.request.remove(b"accept-encoding");
    }
}

/// The algorithm that the client likes best.
fn wanted(request: &Head, algos: &[CompressionAlgo]) -> Option<CompressionAlgo> {
    if algos.contains(&CompressionAlgo::Identity) && algos.len() == 1 {
        return Some(CompressionAlgo::Identity);
    }
    if request.get(b"user-agent").is_some_and(cannot_decode) {
        return None;
    }
    let mut best: Option<(u32, CompressionAlgo)> = None;
    for item in request.items(b"accept-encoding") {
        let mut parts = item.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let token = parts.next().unwrap_or_default();
        let quality = parts
            .find_map(|p| p.strip_prefix(b"q="))
            .map_or(1000, thousandths);
        // The last algorithm of the configuration is the first choice, as in HAProxy.
        let known = algos
            .iter()
            .rev()
            .find(|a| token == b"*" || token.eq_ignore_ascii_case(a.token().as_bytes()));
        if let Some(algo) = known
            && quality > best.map_or(0, |(q, _)| q)
        {
            best = Some((quality, *algo));
        }
    }
    best.map(|(_, algo)| algo)
}

/// A quality value (RFC 9110 section 12.4.2) in thousandths.
fn thousandths(text: &[u8]) -> u32 {
    let digit = |at: usize| {
        let b = text.get(at).copied().unwrap_or(b'0');
        u32::from(b.wrapping_sub(b'0').min(9))
    };
    digit(0) * 1000 + digit(2) * 100 + digit(3) * 10 + digit(4)
}

/// Browsers that say they can and cannot: `Mozilla/4` before Internet Explorer 7, but for 6 with the
/// second service pack of Windows XP.
fn cannot_decode(agent: &[u8]) -> bool {
    let Some(rest) = agent.strip_prefix(b"Mozilla/4") else {
        return false;
    };
    let has = |what: &[u8]| rest.windows(what.len()).any(|w| w == what);
    let version = rest
        .windows(5)
        .position(|w| w == b"MSIE ")
        .and_then(|at| rest.get(at + 5..));
    let digits = version.map_or(0, |v| {
        v.iter()
            .take_while(|b| b.is_ascii_digit())
            .take(4)
            .fold(0, |n, b| n * 10 + u32::from(b - b'0'))
    });
    !(digits >= 7 || (digits == 6 && has(b"SV1")))
}

/// Turns the response into a compressed one where it is to be, and returns what does it.
pub fn begin(stream: &mut Stream<'_>, body: Body) -> Option<Box<Encoder>> {
    let algo = stream.compression?;
    let front = Arc::clone(stream.frontend.proxy());
    let back = stream.backend.as_ref().map(|b| Arc::clone(b.proxy()));
    let framed = matches!(body, Body::Length(_) | Body::Chunked);
    if !framed || stream.request.version() == Version::Http10 || algo == CompressionAlgo::Identity {
        return None;
    }
    let head = stream.response.as_mut()?;
    let types = |c: &Compression| (!c.types.is_empty()).then(|| c.types.clone());
    let types = setting(&front, back.as_deref(), types);
    if !fits(head, types.as_deref()) {
        return None;
    }
    if at_limit(stream.worker, &stream.generation.config.global) {
        stream.compression_bypassed = true;
        return None;
    }
    let head = stream.response.as_mut()?;
    head.remove_known(Known::ContentLength);
    if body != Body::Chunked {
        head.append(b"transfer-encoding", b"chunked");
    }
    head.rewrite_values(b"etag", |tag| {
        (!tag.starts_with(b"W/")).then(|| [b"W/", tag].concat())
    });
    head.append(b"vary", b"Accept-Encoding");
    head.append(b"content-encoding", algo.token().as_bytes());
    Some(Box::new(Encoder::new(algo)))
}

/// Whether the process compresses as much as it may (`maxcomprate`, `maxcompcpuusage`).
fn at_limit(worker: &Worker, global: &model::Global) -> bool {
    let counters = &worker.process.counters;
    let rate = || counters.rate(worker.millis(), |c| &c.comp_in_rate);
    let full = global.maxcomprate > 0 && rate() >= u64::from(global.maxcomprate) * 1024;
    let most = global.maxcompcpuusage;
    full || most.is_some_and(|most| worker.process.busy_percent() > u64::from(most))
}

fn fits(head: &Head, types: Option<&[Box<str>]>) -> bool {
    let mut tags = head.values(b"etag");
    let tag = tags.next();
    let valid_tag = |t: &[u8]| {
        let t = t.strip_prefix(b"W/").unwrap_or(t);
        t.len() >= 2 && t.starts_with(b"\"") && t.ends_with(b"\"")
    };
    let kind = head.get(b"content-type");
    let begins = |kind: &[u8], with: &str| {
        kind.get(..with.len())
            .is_some_and(|k| k.eq_ignore_ascii_case(with.as_bytes()))
    };
    let typed = match (types, kind) {
        (Some(types), Some(kind)) => types.iter().any(|t| begins(kind, t)),
        (Some(_), None) => false,
        (None, kind) => !kind.is_some_and(|k| begins(k, "multipart")),
    };
    typed
        && head.version() == Version::Http11
        && matches!(head.status(), 200..=203)
        && head.get(b"content-encoding").is_none()
        && !head.has_token(b"cache-control", b"no-transform")
        && tag.is_none_or(valid_tag)
        && tags.next().is_none()
}

enum Deflater {
    Gzip(GzEncoder<Vec<u8>>),
    Zlib(ZlibEncoder<Vec<u8>>),
    Raw(DeflateEncoder<Vec<u8>>),
}

/// Compresses one body into chunks.
pub struct Encoder {
    deflater: Deflater,
    /// Bytes of payload before and after.
    pub counts: (u64, u64),
}

impl Encoder {
    fn new(algo: CompressionAlgo) -> Encoder {
        let (out, level) = (Vec::new(), Level::fast());
        let deflater = match algo {
            CompressionAlgo::Gzip | CompressionAlgo::Identity => {
                Deflater::Gzip(GzEncoder::new(out, level))
            }
            CompressionAlgo::Deflate => Deflater::Zlib(ZlibEncoder::new(out, level)),
            CompressionAlgo::RawDeflate => Deflater::Raw(DeflateEncoder::new(out, level)),
        };
        Encoder {
            deflater,
            counts: (0, 0),
        }
    }

    /// Appends the chunk that this much payload makes, at the end with the last chunk. Whatever has
    /// been put in comes out at once: a response may be a stream of events.
    pub fn encode(&mut self, payload: &[u8], end: bool, out: &mut Vec<u8>) -> std::io::Result<()> {
        let mut made = match &mut self.deflater {
            Deflater::Gzip(d) => {
                advance(d, payload, end, GzEncoder::try_finish, GzEncoder::get_mut)
            }
            Deflater::Zlib(d) => advance(
                d,
                payload,
                end,
                ZlibEncoder::try_finish,
                ZlibEncoder::get_mut,
            ),
            Deflater::Raw(d) => advance(
                d,
                payload,
                end,
                DeflateEncoder::try_finish,
                DeflateEncoder::get_mut,
            ),
        }?;
        self.counts.0 += payload.len() as u64;
        self.counts.1 += made.len() as u64;
        if !made.is_empty() {
            write!(out, "{:x}\r\n", made.len())?;
            out.append(&mut made);
            out.extend_from_slice(b"\r\n");
        }
        if end {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }
}

fn advance<D: Write>(
    deflater: &mut D,
    payload: &[u8],
    end: bool,
    finish: impl Fn(&mut D) -> std::io::Result<()>,
    made: impl Fn(&mut D) -> &mut Vec<u8>,
) -> std::io::Result<Vec<u8>> {
    deflater.write_all(payload)?;
    if end {
        finish(deflater)?;
    } else if !payload.is_empty() {
        deflater.flush()?;
    }
    Ok(std::mem::take(made(deflater)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use CompressionAlgo::{Deflate, Gzip, RawDeflate};

    fn asks(accept: &str, agent: &str) -> Option<CompressionAlgo> {
        let mut head = Head::default();
        head.start_request(b"GET", b"/", Version::Http11);
        head.append(b"accept-encoding", accept.as_bytes());
        head.append(b"user-agent", agent.as_bytes());
        wanted(&head, &[Gzip, Deflate, RawDeflate])
    }

    #[test]
    fn the_client_gets_what_it_likes_best() {
        for (accept, algo) in [
            ("gzip", Some(Gzip)),
            ("GZIP", Some(Gzip)),
            ("br, gzip", Some(Gzip)),
            ("gzip;q=0.5, deflate;q=0.8", Some(RawDeflate)),
            ("deflate, gzip", Some(RawDeflate)),
            ("*", Some(RawDeflate)),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("gzip;q=0.001", Some(Gzip)),
            ("x-gzip", None),
            ("identity", None),
            ("", None),
        ] {
            assert_eq!(asks(accept, ""), algo, "{accept}");
        }
    }

    #[test]
    fn old_browsers_get_nothing_that_they_cannot_read() {
        assert_eq!(asks("gzip", "Mozilla/4.0"), None);
        assert_eq!(asks("gzip", "Mozilla/4.0 (compatible; MSIE 6.0)"), None);
        let patched = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)";
        assert_eq!(asks("gzip", patched), Some(Gzip));
        assert_eq!(
            asks("gzip", "Mozilla/4.0 (compatible; MSIE 10.0)"),
            Some(Gzip)
        );
        assert_eq!(asks("gzip", "Mozilla/5.0"), Some(Gzip));
    }

    #[test]
    fn every_part_put_in_comes_out_in_a_chunk_of_its_own() {
        let mut encoder = Encoder::new(Gzip);
        let mut out = Vec::new();
        encoder.encode(b"first", false, &mut out).expect("memory");
        assert!(!out.is_empty() && out.ends_with(b"\r\n"));
        encoder.encode(b"", true, &mut out).expect("memory");
        assert!(out.ends_with(b"\r\n0\r\n\r\n"));
        let mut payload = Vec::new();
        let mut decoder = http::chunk::Decoder::new();
        assert!(decoder.payload(&out, &mut payload).expect("chunks").done);
        let mut plain = String::new();
        let mut reader = flate2::read::GzDecoder::new(&payload[..]);
        std::io::Read::read_to_string(&mut reader, &mut plain).expect("gzip");
        assert_eq!(plain, "first");
    }
}
