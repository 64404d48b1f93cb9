//! Servers that are added while running, and the certificates that were put into memory before.

use crate::files::Files;
use lab::{Proxy, each, port};
use std::process::Command;

#[test]
fn an_added_server_uses_a_certificate_that_came_over_the_socket() {
    let files = Files::new();
    each(|program| {
        let (plain, judging) = (port(), port());
        let (leaf, root) = (files.path("leaf.pem"), files.path("root.c"));
        let proxy = Proxy::start(
            program,
            &format!(
                "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\nfrontend door\n    bind 127.0.0.1:{plain}\n    default_backend b\nfrontend judging\n    bind 127.0.0.1:{judging} ssl crt {leaf} ca-file {root} verify required\n    http-request return status 200 content-type text/plain lf-string %[ssl_c_s_dn(CN)]\nbackend b\n    retries 0\n"
            ),
        );
        for command in [
            "new ssl cert that.pem".to_string(),
            files.with("set ssl cert that.pem", "leaf.pem"),
            "commit ssl cert that.pem".to_string(),
        ] {
            proxy.control(&command);
        }
        let state = || {
            let text = proxy.control("show ssl cert that.pem");
            let mut lines = text.lines();
            let line = lines.find_map(|l| l.strip_prefix("Status: "));
            line.unwrap_or_default().to_string()
        };
        assert_eq!(state(), "Unused", "{}", program.name);
        let added = proxy.control(&format!(
            "add server b/s 127.0.0.1:{judging} ssl verify none crt that.pem"
        ));
        assert!(added.contains("New server registered"), "{added}");
        proxy.control("enable server b/s");
        assert_eq!(state(), "Used", "{}", program.name);
        let ask = || {
            let output = Command::new("curl")
                .args(["-s", "--max-time", "10", "-w", " %{http_code}", "-o", "-"])
                .arg(format!("http://127.0.0.1:{plain}/"))
                .output()
                .expect("curl is installed");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(ask(), "leaf.example 200", "{}", program.name);
        // What comes later reaches it, too: the other side believes nobody but those of its root.
        proxy.control(&files.with("set ssl cert that.pem", "one.pem"));
        let done = proxy.control("commit ssl cert that.pem");
        assert!(done.contains("Success!"), "{}: {done}", program.name);
        let refused = ask();
        assert!(
            refused.ends_with(" 502") || refused.ends_with(" 503"),
            "{}: {refused}",
            program.name
        );
    });
}
