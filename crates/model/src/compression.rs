//! `compression`.

/// An algorithm of `compression algo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CompressionAlgo {
    Identity,
    Gzip,
    /// In the format of zlib (RFC 1950), as RFC 9110 section 8.4.1.2 has it.
    Deflate,
    /// Without that wrapper; its token is `deflate`, too.
    RawDeflate,
}

impl CompressionAlgo {
    /// The content coding that clients know it by.
    pub fn token(self) -> &'static str {
        match self {
            CompressionAlgo::Identity => "identity",
            CompressionAlgo::Gzip => "gzip",
            CompressionAlgo::Deflate | CompressionAlgo::RawDeflate => "deflate",
        }
    }
}

/// What is compressed, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// `compression algo`.
    pub algos: Vec<CompressionAlgo>,
    /// `compression type`: beginnings of content types; none is any but `multipart`.
    pub types: Vec<Box<str>>,
    /// `compression offload`: servers are not asked to compress.
    pub offload: bool,
}
