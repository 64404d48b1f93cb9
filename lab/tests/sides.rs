//! Words about one side of a session that stand by themselves: where it goes without a server, what
//! must not be cached, how its sockets are made and counted, and what TLS a certificate of a list
//! speaks. Each through mulgil and the oracle.

use lab::{Client, Folder, LogSink, Proxy, Server, each, get, openssl, port, refusing};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const TIMES: &str = "defaults\n    mode http\n    timeout client 3s\n    timeout server 3s\n    timeout connect 500ms\n";

#[test]
fn dispatch_and_transparent_go_past_servers() {
    each(|program| {
        let server = Server::named("a");
        let (log, dispatched, meant) = (LogSink::new(), port(), port());
        let (to, dead) = (server.addr, refusing());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\n    option httplog\n\
                 listen dispatched\n    bind 127.0.0.1:{dispatched}\n    dispatch {to}\n\
                 listen meant\n    bind 127.0.0.1:{meant}\n    server s 127.0.0.1:{dead}\n    option transparent\n\
                 http-request set-dst str({})\n    http-request set-dst-port int({})\n",
                log.port,
                to.ip(),
                to.port()
            ),
        );
        for (port, name) in [(dispatched, "dispatched"), (meant, "meant")] {
            let answer = get(port, "/");
            let from = answer.header("x-server");
            assert_eq!(
                (answer.status, from.as_deref()),
                (200, Some("a")),
                "{}",
                program.name
            );
            let line = log.line(name);
            let wanted = format!(" {name} {name}/<NOSRV> ");
            assert!(line.contains(&wanted), "{}: {line}", program.name);
            assert_eq!(
                proxy.stat(name, "BACKEND", "hrsp_2xx"),
                "1",
                "{}",
                program.name
            );
            assert_eq!(
                proxy.stat(name, "BACKEND", "lbtot"),
                "0",
                "{}",
                program.name
            );
        }
    });
}

#[test]
fn a_cookie_that_a_cache_might_keep_is_blocked() {
    each(|program| {
        let server = Server::start(|request, stream| {
            use std::io::Write;
            let path = request.split(' ').nth(1).unwrap_or_default();
            let more = match path {
                "/plain" => "Set-Cookie: a=b\r\n",
                "/private" => "Set-Cookie: a=b\r\nCache-Control: private\r\n",
                "/unstored" => "Set-Cookie: a=b\r\nCache-Control: no-store\r\n",
                "/public" => "Set-Cookie: a=b\r\nCache-Control: public\r\n",
                "/but" => "Set-Cookie: a=b\r\nCache-Control: no-cache=\"set-cookie\"\r\n",
                _ => "",
            };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{more}\r\nok"
            )
            .is_ok()
        });
        let (log, port) = (LogSink::new(), port());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\n    option httplog\n\
                 listen f\n    bind 127.0.0.1:{port}\n    option checkcache\n    server s {}\n",
                log.port, server.addr
            ),
        );
        // 2.6 never blocks what its manual says: it is the manual that counts.
        let blocks = program.name != "haproxy";
        for (path, shared) in [
            ("/none", false),
            ("/plain", true),
            ("/private", false),
            ("/unstored", false),
            ("/but", false),
            ("/public", true),
        ] {
            let blocked = shared && blocks;
            let status = if blocked { 502 } else { 200 };
            assert_eq!(get(port, path).status, status, "{}: {path}", program.name);
            if blocked {
                log.line("Blocking cacheable cookie in response from instance f, server s.");
            }
            let line = log.line(path);
            let flags = if blocked { " PH-- " } else { " ---- " };
            assert!(line.contains(flags), "{}: {line}", program.name);
        }
        let mut client = Client::connect(port);
        let posted = client.ask("POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(
            posted.status, 200,
            "{}: answers to POST are not cached",
            program.name
        );
    });
}

#[test]
fn sockets_have_rows_of_their_own() {
    each(|program| {
        let folder = Folder::new();
        let (one, two) = (port(), port());
        let proxy = Proxy::start(
            program,
            &format!(
                "    unix-bind prefix {} mode 600\n{TIMES}frontend f\n    option socket-stats\n\
                 bind 127.0.0.1:{one}\n    bind 127.0.0.1:{two} name second maxconn 7\n    bind unix@socket\n\
                 http-request deny if {{ path /deny }}\n    http-request return status 200\n",
                folder.path("")
            ),
        );
        get(one, "/");
        get(two, "/");
        get(two, "/deny");
        for (row, field, wanted) in [
            ("sock-1", "stot", "1"),
            ("sock-1", "dreq", "0"),
            ("second", "stot", "2"),
            ("second", "dreq", "1"),
            ("second", "slim", "7"),
            ("second", "type", "3"),
            ("second", "sid", "2"),
            ("second", "status", "OPEN"),
            ("sock-3", "stot", "0"),
        ] {
            assert_eq!(
                proxy.stat("f", row, field),
                wanted,
                "{}: {row} {field}",
                program.name
            );
        }
        let typed = proxy.control("show stat f 8 2 typed");
        assert!(
            typed.contains("L.2.2.1.svname.1:KNS:str:second"),
            "{}: {typed}",
            program.name
        );
        let mode = std::fs::metadata(folder.path("socket")).map(|m| m.permissions().mode());
        assert_eq!(mode.expect("the socket") & 0o777, 0o600, "{}", program.name);
    });
}

/// A self-signed certificate with its key in one file.
fn certificate(folder: &Folder, name: &str) -> String {
    let (key, cert) = (folder.path("key"), folder.path("cert"));
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName=DNS:{name}");
    openssl(&[
        "req", "-x509", "-nodes", "-days", "30", "-newkey", "rsa:2048", "-keyout", &key, "-out",
        &cert, "-subj", &subject, "-addext", &names,
    ]);
    let both = [&cert, &key].map(|p| std::fs::read_to_string(p).expect("a file"));
    folder.file(&format!("{name}.pem"), both.concat().as_bytes())
}

/// What a client that offers this comes to, as openssl tells it: the certificate's subject and the
/// cipher suite.
fn agreed(port: u16, name: &str, offers: &[&str]) -> String {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-brief",
        ])
        .args(if name.is_empty() {
            vec!["-noservername"]
        } else {
            vec!["-servername", name]
        })
        .args(offers)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let after = |word: &str| {
        let found = text.lines().find_map(|l| l.trim().strip_prefix(word));
        found.unwrap_or("nothing").trim().to_string()
    };
    after("Ciphersuite:")
}

#[test]
fn an_entry_of_a_list_has_its_own_ciphers_and_versions() {
    each(|program| {
        let folder = Folder::new();
        let (first, second) = (
            certificate(&folder, "first.test"),
            certificate(&folder, "second.test"),
        );
        let list = folder.file(
            "list",
            format!(
                "{first} [ciphers ECDHE-RSA-AES128-GCM-SHA256 ssl-max-ver TLSv1.2]\n\
                 {second} [ciphersuites TLS_AES_128_GCM_SHA256 curves X25519 ssl-min-ver TLSv1.3]\n"
            )
            .as_bytes(),
        );
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt-list {list}\n    http-request return status 200\n"
            ),
        );
        for (name, offers, wanted) in [
            ("first.test", &[][..], "ECDHE-RSA-AES128-GCM-SHA256"),
            ("second.test", &[], "TLS_AES_128_GCM_SHA256"),
            ("second.test", &["-tls1_2"], "nothing"),
        ] {
            let got = agreed(port, name, offers);
            assert_eq!(got, wanted, "{}: '{name}' {offers:?}", program.name);
        }
        // Whoever asks for none of them gets the first, as that is to be served. The oracle gives its
        // certificate, but does not hold to its versions.
        if program.name != "haproxy" {
            assert_eq!(agreed(port, "", &[]), "ECDHE-RSA-AES128-GCM-SHA256");
        }
    });
}

#[test]
fn what_was_agreed_with_a_server_is_known() {
    each(|program| {
        let folder = Folder::new();
        let pem = certificate(&folder, "origin.test");
        let (inner, outer) = (port(), port());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend inner\n    bind 127.0.0.1:{inner} ssl crt {pem} alpn http/1.1 ssl-max-ver TLSv1.2\n    http-request return status 200\n\
                 frontend outer\n    bind 127.0.0.1:{outer}\n    use_backend plain if {{ path /plain }}\n    default_backend secure\n\
                 http-response set-header X-Tls \"%[ssl_bc]|%[ssl_bc_protocol]|%[ssl_bc_cipher]|%[ssl_bc_alg_keysize]|%[ssl_bc_alpn]|%[ssl_bc_is_resumed]|%[ssl_s_s_dn(CN)]|%[ssl_s_version]|%[ssl_s_key_alg]\"\n\
                 backend secure\n    server s 127.0.0.1:{inner} ssl verify none alpn http/1.1\n\
                 backend plain\n    server s 127.0.0.1:{}\n",
                Server::named("plain").addr.port()
            ),
        );
        let said = |path: &str| get(outer, path).header("x-tls").unwrap_or_default();
        assert_eq!(
            said("/").split('|').collect::<Vec<_>>()[..2],
            ["1", "TLSv1.2"],
            "{}",
            program.name
        );
        let secure = said("/");
        assert!(
            secure.contains("|256|http/1.1|") || secure.contains("|128|http/1.1|"),
            "{}: {secure}",
            program.name
        );
        assert!(
            secure.ends_with("|origin.test|3|rsaEncryption"),
            "{}: {secure}",
            program.name
        );
        assert_eq!(said("/plain"), "0|||||0|||", "{}", program.name);
    });
}

#[test]
fn variables_tell_where_commands_are_taken() {
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "    stats socket ipv4@127.0.0.1:{port}\n{TIMES}frontend f\n    bind 127.0.0.1:{}\n    http-request deny\n",
                lab::port()
            ),
        );
        let control = proxy.folder().path("control");
        let wanted = format!("HAPROXY_CLI=unix@{control};ipv4@127.0.0.1:{port}");
        let said = proxy.control("show env HAPROXY_CLI");
        assert_eq!(said.trim(), wanted, "{}", program.name);
    });
}

#[test]
fn words_of_the_language_are_listed_by_class() {
    each(|program| {
        let folder = Folder::new();
        let file = folder.file(
            "a.cfg",
            format!("{TIMES}frontend f\n    bind 127.0.0.1:1\n    http-request deny\n").as_bytes(),
        );
        for (class, lines) in [
            (
                "acl",
                &[
                    "# List of registered ACL keywords:",
                    "path_beg = path -m beg",
                ][..],
            ),
            ("cli", &["# List of registered CLI keywords:", "show info"]),
            (
                "svc",
                &["# List of registered service names:", "prometheus-exporter"],
            ),
            (
                "cnv",
                &[
                    "# List of registered sample converter functions:",
                    "lower: str => str",
                ],
            ),
            (
                "smp",
                &[
                    "# List of registered sample fetch functions:",
                    "] path: str",
                ],
            ),
            (
                "cfg",
                &[
                    "# List of registered configuration keywords:",
                    "\tbind <addr> accept-proxy",
                    "\tserver <name> <addr> backup",
                ],
            ),
            (
                "svc,cnv",
                &[
                    "# List of registered service names:",
                    "# List of registered sample converter functions:",
                ],
            ),
            (
                "all",
                &[
                    "# List of registered ACL keywords:",
                    "# List of registered service names:",
                ],
            ),
            (
                "help",
                &[
                    "# List of supported keyword classes:",
                    "all: list all keywords",
                ],
            ),
        ] {
            let (status, text) = program.run(&[&format!("-dK{class}"), "-q", "-c", "-f", &file]);
            assert_eq!(status, 0, "{}: {class}", program.name);
            for line in lines {
                assert!(
                    text.contains(line),
                    "{}: {class}: no '{line}' in {text}",
                    program.name
                );
            }
        }
        for (condition, status) in [("1", 0), ("0", 1), ("foo", 2)] {
            assert_eq!(
                program.run(&["-cc", condition]).0,
                status,
                "{}: {condition}",
                program.name
            );
        }
    });
}
