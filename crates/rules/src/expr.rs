//! Expressions: a fetch and the converters behind it.

use crate::args::{self, Arg};
use crate::convert::{ConvertDef, converters};
use crate::error::{ParseError, nearest};
use crate::fetch::{FetchDef, Layer, fetches};
use crate::{Ctx, Sample, Scope, Type};

/// `fetch(args),converter(args),…`.
#[derive(Clone, Debug)]
pub struct Expr {
    fetch: &'static FetchDef,
    args: Box<[Arg]>,
    converters: Vec<(&'static ConvertDef, Box<[Arg]>)>,
    output: Type,
}

/// Values of a request that HAProxy keeps for its response, or takes from the response in its turn.
const OUTLIVE_REQUESTS: [&str; 8] = [
    "capture.req.method",
    "capture.req.uri",
    "capture.req.ver",
    "hdr",
    "method",
    "payload",
    "payload_lv",
    "req.proto_http",
];

impl Expr {
    /// Reads one word.
    pub fn parse(word: &str, scope: &Scope<'_>) -> Result<Expr, ParseError> {
        let (name, rest) = split_name(word);
        let fail = |message: String| ParseError::at(0, message);
        let fetch = fetches()
            .find(|f| f.names.contains(&name))
            .ok_or_else(|| fail(unknown("fetch", name, fetches().flat_map(|f| f.names))))?;
        let (texts, rest) = args::split(rest).map_err(fail)?;
        let args = args::check(name, &fetch.args, &texts, scope).map_err(fail)?;
        let mut expr = Expr {
            fetch,
            args,
            converters: Vec::new(),
            output: fetch.output,
        };
        expr.parse_converters(word, rest, scope)?;
        Ok(expr)
    }

    /// What its value comes from, by the first of its names.
    pub(crate) fn fetch_name(&self) -> &'static str {
        self.fetch.names.first().copied().unwrap_or_default()
    }

    /// The names of its fetch and converters, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        let converters = self.converters.iter().map(|(c, _)| c.name);
        std::iter::once(self.fetch_name()).chain(converters)
    }

    /// Reads `,converter(args),…` behind an expression.
    fn parse_converters(
        &mut self,
        word: &str,
        rest: &str,
        scope: &Scope<'_>,
    ) -> Result<(), ParseError> {
        let mut rest = rest;
        while !rest.is_empty() {
            let offset = word.len() - rest.len();
            let fail = |message: String| ParseError {
                word: 0,
                offset,
                message,
            };
            let Some(after) = rest.strip_prefix(',') else {
                return Err(fail(format!(
                    "'{rest}' stands where ',converter' or the end should"
                )));
            };
            let (name, after) = split_name(after.trim_start());
            let converter = converters()
                .find(|c| c.name == name)
                .ok_or_else(|| fail(unknown("converter", name, converters().map(|c| &c.name))))?;
            if !self.output.casts_to(converter.input) {
                return Err(fail(format!(
                    "'{name}' takes {}, and before it stands {}",
                    converter.input.name(),
                    self.output.name()
                )));
            }
            let (texts, after) = args::split(after).map_err(fail)?;
            let args = args::check(name, &converter.args, &texts, scope).map_err(fail)?;
            self.converters.push((converter, args));
            if converter.input != Type::Any || converter.output != Type::Any {
                self.output = converter.output;
            }
            rest = after;
        }
        Ok(())
    }

    /// The type it ends in, as far as the tables know.
    pub fn output(&self) -> Type {
        self.output
    }

    /// Whether its value comes from a request alone, which is over when the response is there.
    pub fn is_of_request_alone(&self) -> bool {
        let outlives = |name: &&str| OUTLIVE_REQUESTS.contains(name);
        self.fetch.layer == Layer::Request && !self.fetch.names.iter().any(outlives)
    }

    /// Whether its value comes from the head of a response.
    pub fn is_of_response(&self) -> bool {
        self.fetch.layer == Layer::Response
    }

    /// Whether converters change what the fetch gives.
    pub(crate) fn is_converted(&self) -> bool {
        !self.converters.is_empty()
    }

    /// The value; `None` where there is none.
    pub fn eval<'s>(&'s self, cx: &'s Ctx<'_>) -> Option<Sample<'s>> {
        self.convert((self.fetch.eval)(&self.args, cx)?, cx)
    }

    /// Calls `visit` with each value (a header that comes more than once has several) until it
    /// returns true; whether it did, and whether there was any value at all.
    pub fn any(&self, cx: &Ctx<'_>, mut visit: impl FnMut(&Sample<'_>) -> bool) -> (bool, bool) {
        let Some(each) = self.fetch.each else {
            return match self.eval(cx) {
                Some(sample) => (visit(&sample), true),
                None => (false, false),
            };
        };
        let mut seen = false;
        for n in 0.. {
            let Some(raw) = each(&self.args, cx, n) else {
                break;
            };
            if let Some(sample) = self.convert(raw, cx) {
                seen = true;
                if visit(&sample) {
                    return (true, true);
                }
            }
        }
        (false, seen)
    }

    fn convert<'s>(&'s self, mut sample: Sample<'s>, cx: &'s Ctx<'_>) -> Option<Sample<'s>> {
        for (converter, args) in &self.converters {
            sample = (converter.eval)(args, sample.cast(converter.input)?, cx)?;
        }
        Some(sample)
    }
}

fn split_name(text: &str) -> (&str, &str) {
    let end = text.find(['(', ',']).unwrap_or(text.len());
    text.split_at(end)
}

/// The sentence for a name that no table has.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    names: impl IntoIterator<Item = &'a &'static str>,
) -> String {
    let known = match what {
        "fetch" => KNOWN_FETCHES,
        "converter" => KNOWN_CONVERTERS,
        "action" => KNOWN_ACTIONS,
        _ => "",
    };
    if what == "fetch"
        && let Some((_, why)) = UNKNOWABLE
            .iter()
            .find(|(ending, _)| tls_fetch(name, ending))
    {
        return format!("'{name}' cannot be had: {why}");
    }
    if known.lines().any(|k| k == name) {
        let article = if what == "action" { "an" } else { "a" };
        return format!("'{name}' is {article} {what} of HAProxy that mulgil does not have yet");
    }
    if name.starts_with("lua.") {
        return format!(
            "'{name}' is written in Lua, which is something of HAProxy that mulgil does not have yet"
        );
    }
    match nearest(name, names.into_iter().copied()) {
        Some(near) => format!("unknown {what} '{name}': did you mean '{near}'?"),
        None => format!("unknown {what} '{name}'"),
    }
}

/// Names of HAProxy's language, whether we have them or not.
const KNOWN_FETCHES: &str = include_str!("known/fetches.txt");
const KNOWN_CONVERTERS: &str = include_str!("known/converters.txt");
const KNOWN_ACTIONS: &str = include_str!("known/actions.txt");

/// Fetches of both sides of TLS, by how they end, that no answer is known to, and why.
const UNKNOWABLE: &[(&str, &str)] = &[
    (
        "session_id",
        "rustls does not tell the ids of sessions; ssl_fc_client_random tells connections apart",
    ),
    (
        "unique_id",
        "rustls does not tell Finished messages, which 'tls-unique' (RFC 5929) is made of; ssl_fc_client_random tells connections apart",
    ),
];

/// Whether a name is `ssl_fc_…` or `ssl_bc_…` with this ending.
fn tls_fetch(name: &str, ending: &str) -> bool {
    let rest = name
        .strip_prefix("ssl_fc_")
        .or_else(|| name.strip_prefix("ssl_bc_"));
    rest == Some(ending)
}
