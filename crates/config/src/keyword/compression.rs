//! `compression`.

use super::near;
use crate::diag::Fault;
use crate::draft::{Draft, sections};
use crate::line::Line;
use model::{Compression, CompressionAlgo};
use std::sync::Arc;

pub fn compression(d: &mut Draft, l: &mut Line<'_>) -> Result<(), Fault> {
    let old = d.http.compression.as_deref().cloned();
    let mut made: Compression = old.unwrap_or_default();
    let values = l.texts(1);
    match l.arg(0) {
        word @ ("algo" | "type") if values.is_empty() => {
            return l.fail(0, format!("'compression {word}' wants at least one value"));
        }
        "algo" => {
            for (at, name) in values.iter().enumerate() {
                let algo = match *name {
                    "identity" => CompressionAlgo::Identity,
                    "gzip" => CompressionAlgo::Gzip,
                    "deflate" => CompressionAlgo::Deflate,
                    "raw-deflate" => CompressionAlgo::RawDeflate,
                    other => {
                        let names = ["identity", "gzip", "deflate", "raw-deflate"];
                        return l.fail(at + 1, near("compression algorithm", other, &names));
                    }
                };
                made.algos.push(algo);
            }
        }
        "type" => made.types.extend(values.iter().map(|t| (*t).into())),
        "offload" if d.section == sections::D => {
            l.warnings.push(Fault::warning(
                l.skip,
                "'compression offload' has no effect in defaults: write it where it is wanted",
            ));
        }
        "offload" => made.offload = true,
        other => {
            return l.fail(
                0,
                near("word of 'compression'", other, &["algo", "type", "offload"]),
            );
        }
    }
    d.http.compression = Some(Arc::new(made));
    Ok(())
}

/// `filter compression`: HAProxy's word for the place of compression among several filters.
pub fn filter(l: &mut Line<'_>) -> Result<(), Fault> {
    const OTHERS: [&str; 10] = [
        "bwlim-in",
        "bwlim-out",
        "cache",
        "comp-req",
        "comp-res",
        "fcgi-app",
        "lua.",
        "opentracing",
        "spoe",
        "trace",
    ];
    match l.arg(0) {
        "compression" => l.exactly(1, "compression"),
        "" => l.fail(0, "'filter' wants the name of a filter: compression"),
        other if OTHERS.iter().any(|name| other.starts_with(name)) => l.fail(
            0,
            format!("'{other}' is a filter of HAProxy that mulgil does not have yet"),
        ),
        other => l.fail(0, near("filter", other, &["compression"])),
    }
}
