//! Answers that rules give: `return`, `deny`, `redirect`.

use crate::{Ctx, LogFormat};

/// An answer's body.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// The proxy's own page for the status (`errorfile` and so on).
    #[default]
    ErrorPage,
    /// None.
    Empty,
    /// As it is.
    Fixed(Box<[u8]>),
    /// Rendered.
    Format(LogFormat),
    /// A whole message from a file, head and body.
    Message(Box<[u8]>),
    /// The page of an `http-errors` section.
    Section(Box<str>),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Body,
    /// `content-type`.
    pub content_type: Option<Box<str>>,
    /// `hdr NAME FMT`, in order.
    pub headers: Vec<(Box<[u8]>, LogFormat)>,
}

/// What a redirect's Location is made from.
#[derive(Clone, Debug)]
pub enum RedirectKind {
    /// `location`: the whole.
    Location(LogFormat),
    /// `prefix`: before path and query.
    Prefix(LogFormat),
    /// `scheme`: before `://`, Host, path and query.
    Scheme(LogFormat),
}

/// A redirect (manual section 4.2, `redirect`).
#[derive(Clone, Debug)]
pub struct Redirect {
    /// What it is made from.
    pub kind: RedirectKind,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `drop-query`.
    pub drop_query: bool,
    /// `append-slash`.
    pub append_slash: bool,
    /// `ignore-empty`.
    pub ignore_empty: bool,
    /// The Set-Cookie value of `set-cookie` or `clear-cookie`.
    pub cookie: Option<Box<str>>,
}

impl Redirect {
    /// Whether `ignore-empty` makes the rule pass over this request.
    pub(crate) fn ignored(&self, cx: &Ctx<'_>) -> bool {
        if !self.ignore_empty {
            return false;
        }
        let (RedirectKind::Location(f) | RedirectKind::Prefix(f) | RedirectKind::Scheme(f)) =
            &self.kind;
        let mut out = Vec::new();
        f.render(cx, &mut out);
        out.is_empty()
    }

    /// The Location.
    pub fn location(&self, cx: &Ctx<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let format = match &self.kind {
            RedirectKind::Location(format) => {
                format.render(cx, &mut out);
                return out;
            }
            RedirectKind::Prefix(format) | RedirectKind::Scheme(format) => format,
        };
        format.render(cx, &mut out);
        let Some(head) = cx.request() else { return out };
        if matches!(self.kind, RedirectKind::Scheme(_)) {
            out.extend_from_slice(b"://");
            out.extend_from_slice(head.get(b"host").unwrap_or_default());
        } else if out == b"/" {
            // A prefix of "/" alone makes absolute-path redirects.
            out.clear();
        }
        let path = head.path();
        out.extend_from_slice(path);
        if self.append_slash && path.last() != Some(&b'/') {
            out.push(b'/');
        }
        if !self.drop_query
            && let Some(query) = head.query()
        {
            out.push(b'?');
            out.extend_from_slice(query);
        }
        out
    }
}
