//! A request, and the session that it came in.

use rules::{Ends, Listener, SessionInfo, Wall};
use std::sync::Arc;

pub const REQUEST: &str = "GET /Static/Logo.png?a=1&b=%20x HTTP/1.1\r\nHost: WWW.Example.org:8080\r\n\
    X-List: one, two\r\nX-List: three\r\nX-Num: 42\r\nX-Ip: 10.1.2.3\r\nCookie: sid=abc; t=7\r\n\r\n";

/// When the session began, and now.
pub const AT: Wall = Wall {
    secs: 784_111_777,
    micros: 5000,
};

pub fn session() -> SessionInfo {
    SessionInfo {
        ends: Ends::new(
            Some(([192, 0, 2, 7], 40000).into()),
            Some(([192, 0, 2, 1], 80).into()),
        ),
        listener: Arc::new(Listener {
            frontend: "web".into(),
            frontend_id: 2,
            name: "".into(),
            id: 1,
        }),
        worker: 0,
        accepted: AT,
        descriptor: None,
        fault: 0,
        tls: None,
        proxy_header: None,
    }
}
