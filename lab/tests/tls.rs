//! TLS on both sides, with curl and openssl as the other side, the same through mulgil and the
//! oracle.

use lab::{Client, Folder, LogSink, Program, Proxy, Server, each, openssl, port};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n";

/// What kind of key a certificate has.
const EC: [&str; 2] = ["-newkey", "ec:P-256"];
const RSA: [&str; 2] = ["-newkey", "rsa:2048"];

/// A self-signed certificate with its key in one file.
fn certificate(folder: &Folder, file: &str, kind: [&str; 2], name: &str, others: &str) -> String {
    let key = folder.path(&format!("{file}.k"));
    let cert = folder.path(&format!("{file}.c"));
    let subject = format!("/O=Lab/CN={name}");
    let names = format!("subjectAltName=DNS:{name}{others}");
    let mut args = vec![
        "req", "-x509", "-nodes", "-days", "30", "-keyout", &key, "-out", &cert,
    ];
    args.extend(["-subj", &subject, "-addext", &names]);
    match kind {
        EC => args.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        other => args.extend(other),
    }
    openssl(&args);
    let both = [&cert, &key]
        .map(|p| std::fs::read_to_string(p).expect("a file"))
        .concat();
    folder.file(file, both.as_bytes())
}

/// An authority and a certificate that it signed, with its key in one file.
fn signed(folder: &Folder, file: &str, name: &str) -> (String, String) {
    let authority = certificate(folder, "authority.pem", RSA, "authority", "");
    let (key, request, cert) = (
        folder.path(&format!("{file}.k")),
        folder.path(&format!("{file}.r")),
        folder.path(&format!("{file}.c")),
    );
    let subject = format!("/O=Lab/CN={name}");
    openssl(&[
        "req", "-new", "-nodes", "-newkey", "rsa:2048", "-keyout", &key, "-out", &request, "-subj",
        &subject,
    ]);
    let extensions = folder.file(
        "extensions",
        format!("subjectAltName=DNS:{name}\n").as_bytes(),
    );
    openssl(&[
        "x509",
        "-req",
        "-days",
        "30",
        "-in",
        &request,
        "-CA",
        &authority,
        "-CAkey",
        &authority,
        "-CAcreateserial",
        "-out",
        &cert,
        "-extfile",
        &extensions,
    ]);
    let both = [&cert, &key]
        .map(|p| std::fs::read_to_string(p).expect("a file"))
        .concat();
    (authority, folder.file(file, both.as_bytes()))
}

/// curl to a name on a port of the loopback: its exit status and what it printed.
fn curl(port: u16, name: &str, path: &str, more: &[&str]) -> (i32, String) {
    let resolve = format!("{name}:{port}:127.0.0.1");
    let url = format!("https://{name}:{port}{path}");
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "10", "--resolve", &resolve, &url])
        .args(more)
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// The subject of the certificate that a client who asks for this name is shown.
fn subject(port: u16, name: &str, more: &[&str]) -> String {
    let address = format!("127.0.0.1:{port}");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", name])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|l| l.trim().strip_prefix("subject="));
    line.unwrap_or("").replace(' ', "")
}

fn frontend(port: u16, words: &str, rules: &str) -> String {
    format!(
        "{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl {words}\n{rules}    http-request return status 200 content-type text/plain lf-string \"%[ssl_fc] %[ssl_fc_sni] %[ssl_fc_protocol] %[ssl_fc_cipher] %[ssl_fc_alpn]\"\n"
    )
}

#[test]
fn the_certificate_is_chosen_by_the_name_asked_for() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", EC, "one.example", ",DNS:*.wild.example");
        let two = certificate(&folder, "two.pem", RSA, "two.example", "");
        let port = port();
        let _proxy = Proxy::start(
            program,
            &frontend(port, &format!("crt {one} crt {two}"), ""),
        );
        for (name, wanted) in [
            ("one.example", "O=Lab,CN=one.example"),
            ("TWO.example", "O=Lab,CN=two.example"),
            ("a.wild.example", "O=Lab,CN=one.example"),
            ("a.b.wild.example", "O=Lab,CN=one.example"),
            ("unknown.example", "O=Lab,CN=one.example"),
        ] {
            assert_eq!(subject(port, name, &[]), wanted, "{}: {name}", program.name);
        }
        let (status, body) = curl(port, "two.example", "/", &["--http1.1"]);
        assert_eq!(
            (status, body.as_str()),
            (0, "1 two.example TLSv1.3 TLS_AES_256_GCM_SHA384 "),
            "{}",
            program.name
        );
        let (_, body) = curl(
            port,
            "one.example",
            "/",
            &[
                "--tls-max",
                "1.2",
                "--ciphers",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
            ],
        );
        assert_eq!(
            body, "1 one.example TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 ",
            "{}",
            program.name
        );
    });
}

#[test]
fn strict_sni_a_directory_a_list_and_both_kinds_of_key() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", EC, "one.example", "");
        let two = certificate(&folder, "two.pem", RSA, "two.example", "");
        let rsa = certificate(&folder, "rsa.pem", RSA, "one.example", "");
        let site = Folder::new();
        for (name, from) in [("a.pem", &one), ("b.pem", &two), ("c.pem", &rsa)] {
            site.file(name, &std::fs::read(from).expect("a file"));
        }
        let list = folder.file(
            "list",
            format!(
                "# sites\n{one}\n\n{two} [ssl-min-ver TLSv1.3] special.example !other.example\n"
            )
            .as_bytes(),
        );
        let (strict, whole, listed) = (port(), port(), port());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{strict} ssl crt {one} strict-sni\n    bind 127.0.0.1:{whole} ssl crt {}\n    bind 127.0.0.1:{listed} ssl crt-list {list}\n    http-request return status 200\n",
                site.path("")
            ),
        );
        assert_eq!(
            subject(strict, "one.example", &[]),
            "O=Lab,CN=one.example",
            "{}",
            program.name
        );
        assert_eq!(subject(strict, "two.example", &[]), "", "{}", program.name);
        assert_eq!(
            subject(whole, "two.example", &[]),
            "O=Lab,CN=two.example",
            "{}",
            program.name
        );
        // A name with two kinds of key: the client's abilities decide.
        let rsa_only = ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256", "-tls1_3"];
        assert_eq!(
            subject(whole, "one.example", &rsa_only),
            "O=Lab,CN=one.example",
            "{}",
            program.name
        );
        assert_eq!(
            subject(listed, "special.example", &[]),
            "O=Lab,CN=two.example",
            "{}",
            program.name
        );
        assert_eq!(
            subject(listed, "special.example", &["-tls1_2"]),
            "",
            "{}",
            program.name
        );
        assert_eq!(
            subject(listed, "one.example", &["-tls1_2"]),
            "O=Lab,CN=one.example",
            "{}",
            program.name
        );
    });
}

#[test]
fn versions_and_protocols_are_as_configured() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", EC, "one.example", "");
        let (new, old, global) = (port(), port(), port());
        let text = format!(
            "global\n    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n    ssl-default-bind-ciphers ECDHE-ECDSA-AES256-GCM-SHA384\n{TIMES}frontend f\n    bind 127.0.0.1:{new} ssl crt {one} ssl-min-ver TLSv1.3 alpn http/1.1\n    bind 127.0.0.1:{old} ssl crt {one} ssl-max-ver TLSv1.2\n    bind 127.0.0.1:{global} ssl crt {one} force-tlsv12\n    http-request return status 200 content-type text/plain lf-string \"%[ssl_fc_protocol] %[ssl_fc_cipher] %[ssl_fc_alpn]\"\n"
        );
        let _proxy = Proxy::start(program, &text);
        let ask = |port, more: &[&str]| curl(port, "one.example", "/", more);
        assert_eq!(
            ask(new, &["--http1.1"]).1,
            "TLSv1.3 TLS_AES_256_GCM_SHA384 http/1.1",
            "{}",
            program.name
        );
        assert_ne!(ask(new, &["--tls-max", "1.2"]).0, 0, "{}", program.name);
        assert_eq!(
            ask(old, &[]).1,
            "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 ",
            "{}",
            program.name
        );
        assert_ne!(ask(old, &["--tlsv1.3"]).0, 0, "{}", program.name);
        assert_eq!(
            ask(global, &[]).1,
            "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 ",
            "{}",
            program.name
        );
    });
}

#[test]
fn clients_prove_who_they_are() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", EC, "one.example", "");
        let (authority, client) = signed(&folder, "client.pem", "client.example");
        let stranger = certificate(&folder, "stranger.pem", RSA, "stranger.example", "");
        let (must, may, lenient) = (port(), port(), port());
        let text = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{must} ssl crt {one} ca-file {authority} verify required\n    bind 127.0.0.1:{may} ssl crt {one} ca-file {authority} verify optional\n    bind 127.0.0.1:{lenient} ssl crt {one} ca-file {authority} verify optional ca-ignore-err all crt-ignore-err all\n    http-request return status 200 content-type text/plain lf-string \"%[ssl_c_used] %[ssl_c_verify]\"\n"
        );
        let _proxy = Proxy::start(program, &text);
        let ask = |port, cert: &str| {
            let more: &[&str] = if cert.is_empty() {
                &[]
            } else {
                &["--cert", cert]
            };
            curl(port, "one.example", "/", more)
        };
        assert_eq!(ask(must, &client), (0, "1 0".into()), "{}", program.name);
        assert_ne!(ask(must, "").0, 0, "{}", program.name);
        assert_ne!(ask(must, &stranger).0, 0, "{}", program.name);
        assert_eq!(ask(may, ""), (0, "0 0".into()), "{}", program.name);
        assert_eq!(ask(may, &client), (0, "1 0".into()), "{}", program.name);
        let (status, body) = ask(lenient, &stranger);
        assert_eq!(status, 0, "{}", program.name);
        let (used, verify) = body.split_once(' ').expect("two words");
        assert_eq!(used, "1", "{}", program.name);
        assert_ne!(
            verify, "0",
            "{}: a stranger's certificate is not good",
            program.name
        );
    });
}

#[test]
fn what_a_client_certificate_says_is_there_for_rules() {
    let answers: Vec<String> = [Program::haproxy(), Some(Program::mulgil())]
        .into_iter()
        .flatten()
        .map(|program| {
            // The same certificates for both.
            static FOLDER: OnceLock<(Folder, [String; 3])> = OnceLock::new();
            let (_, [one, authority, client]) = FOLDER.get_or_init(|| {
                let folder = Folder::new();
                let one = certificate(&folder, "one.pem", EC, "one.example", "");
                let (authority, client) = signed(&folder, "client.pem", "client.example");
                (folder, [one, authority, client])
            });
            let port = port();
            let fetches = "%[ssl_c_s_dn] %[ssl_c_s_dn(CN)] %[ssl_c_s_dn(O,-1)] %[ssl_c_s_dn(XX)] %[ssl_c_s_dn(,0,rfc2253)] %[ssl_c_i_dn] %[ssl_c_serial,hex] %[ssl_c_sha1,hex] %[ssl_c_notbefore] %[ssl_c_notafter] %[ssl_c_key_alg] %[ssl_c_sig_alg] %[ssl_c_version] %[ssl_c_err] %[ssl_c_used] %[ssl_fc_has_crt] %[ssl_fc_alg_keysize] %[ssl_c_der,sha1,hex]";
            let text = format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {one} ca-file {authority} verify required\n    http-request return status 200 content-type text/plain lf-string \"{fetches}\"\n"
            );
            let _proxy = Proxy::start(&program, &text);
            let (status, body) = curl(port, "one.example", "/", &["--cert", client]);
            assert_eq!(status, 0, "{}", program.name);
            body
        })
        .collect();
    assert!(
        answers[0].starts_with("/O=Lab/CN=client.example client.example Lab "),
        "{answers:?}"
    );
    assert!(answers.windows(2).all(|w| w[0] == w[1]), "{answers:#?}");
}

#[test]
fn servers_are_spoken_to_and_judged() {
    each(|program| {
        let folder = Folder::new();
        let (authority, cert) = signed(&folder, "server.pem", "server.example");
        let stranger = certificate(&folder, "stranger.pem", RSA, "stranger.example", "");
        let (front, tls) = (port(), port());
        let back = |name: &str, words: &str| {
            format!("backend {name}\n    server s 127.0.0.1:{tls} {words}\n")
        };
        let text = format!(
            "{TIMES}    retries 0\nfrontend f\n    bind 127.0.0.1:{front}\n    use_backend %[path,field(2,/)]\nfrontend tls\n    bind 127.0.0.1:{tls} ssl crt {cert}\n    http-request return status 200 content-type text/plain lf-string \"<%[ssl_fc_sni]>\"\n{}{}{}{}{}{}{}",
            back("none", "ssl verify none check"),
            back(
                "good",
                &format!("ssl ca-file {authority} sni str(server.example)")
            ),
            back(
                "other",
                &format!("ssl ca-file {authority} sni str(other.example)")
            ),
            back(
                "host",
                &format!("ssl verify required ca-file {authority} verifyhost server.example")
            ),
            back(
                "wrong",
                &format!("ssl verify required ca-file {authority} verifyhost other.example"),
            ),
            back("unknown", &format!("ssl ca-file {stranger}")),
            back("header", "ssl verify none sni req.hdr(host)"),
        );
        let proxy = Proxy::start(program, &text);
        let ask = |path: &str| {
            let mut client = Client::connect(front);
            let answer = client.ask(&format!(
                "GET /{path} HTTP/1.1\r\nHost: www.example\r\n\r\n"
            ));
            (answer.status, answer.body)
        };
        assert_eq!(ask("none"), (200, "<>".into()), "{}", program.name);
        assert_eq!(
            ask("good"),
            (200, "<server.example>".into()),
            "{}",
            program.name
        );
        assert_eq!(ask("other").0, 503, "{}", program.name);
        assert_eq!(ask("host"), (200, "<>".into()), "{}", program.name);
        assert_eq!(ask("wrong").0, 503, "{}", program.name);
        assert_eq!(ask("unknown").0, 503, "{}", program.name);
        assert_eq!(
            ask("header"),
            (200, "<www.example>".into()),
            "{}",
            program.name
        );
        proxy.wait_for("none", "s", "check_status", "L6OK");
    });
}

#[test]
fn large_bodies_pass_in_both_directions() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", RSA, "one.example", "");
        let server = Server::start(|request, stream| {
            use std::io::Write;
            let body = request.split_once("\r\n\r\n").map_or("", |p| p.1);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .is_ok()
        });
        let (front, middle) = (port(), port());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen a\n    bind 127.0.0.1:{front} ssl crt {one}\n    server m 127.0.0.1:{middle} ssl verify none\nlisten b\n    bind 127.0.0.1:{middle} ssl crt {one}\n    server s {}\n",
                server.addr
            ),
        );
        let body: String = (0..400_000)
            .map(|n| char::from(b'a' + (n % 23) as u8))
            .collect();
        let file = folder.file("body", body.as_bytes());
        let (status, back) = curl(
            front,
            "one.example",
            "/",
            &[
                "-X",
                "POST",
                "-H",
                "Expect:",
                "--data-binary",
                &format!("@{file}"),
            ],
        );
        assert_eq!(status, 0, "{}", program.name);
        assert!(
            back == body,
            "{}: {} bytes came back of {}",
            program.name,
            back.len(),
            body.len()
        );
    });
}

#[test]
fn a_client_comes_back_without_a_full_handshake() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", EC, "one.example", "");
        let port = port();
        let _proxy = Proxy::start(program, &frontend(port, &format!("crt {one}"), ""));
        for version in ["-tls1_2", "-tls1_3"] {
            let session = folder.path("session");
            let address = format!("127.0.0.1:{port}");
            let ask = |option: &str| {
                let mut child = Command::new("openssl")
                    .args([
                        "s_client",
                        "-connect",
                        &address,
                        "-servername",
                        "one.example",
                        version,
                        option,
                        &session,
                        "-ign_eof",
                    ])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("openssl is installed");
                use std::io::Write;
                let request = b"GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";
                child
                    .stdin
                    .as_mut()
                    .expect("a pipe")
                    .write_all(request)
                    .expect("written");
                let output = child.wait_with_output().expect("an end");
                String::from_utf8_lossy(&output.stdout).into_owned()
            };
            assert!(
                ask("-sess_out").contains("New, TLS"),
                "{}: {version}",
                program.name
            );
            let again = ask("-sess_in");
            assert!(
                again.contains("Reused, TLS"),
                "{}: {version}: {again}",
                program.name
            );
        }
    });
}

#[test]
fn what_is_not_tls_is_refused_and_logged() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", EC, "one.example", "");
        let sink = LogSink::new();
        let port = port();
        let text = format!(
            "{TIMES}    option httplog
    log 127.0.0.1:{} local0\nfrontend f\n    bind 127.0.0.1:{port} ssl crt {one} name door\n    http-request return status 200\n",
            sink.port
        );
        let _proxy = Proxy::start(program, &text);
        let mut client = Client::connect(port);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let line = sink.line("SSL");
        assert!(
            line.ends_with("f/door: SSL handshake failure"),
            "{}: {line}",
            program.name
        );
        drop(Client::connect(port));
        let line = sink.line("closed");
        assert!(
            line.ends_with("f/door: Connection closed during SSL handshake"),
            "{}: {line}",
            program.name
        );
        assert_eq!(
            curl(port, "one.example", "/", &[]).0,
            0,
            "{}: it goes on",
            program.name
        );
    });
}

#[test]
fn an_ocsp_answer_from_a_file_is_stapled() {
    each(|program| {
        let folder = Folder::new();
        let (authority, cert) = signed(&folder, "server.pem", "server.example");
        let serial = openssl(&["x509", "-in", &cert, "-noout", "-serial"]);
        let serial = serial.trim().trim_start_matches("serial=").to_string();
        let index = folder.file(
            "index",
            format!("V\t351231235959Z\t\t{serial}\tunknown\t/O=Lab/CN=server.example\n").as_bytes(),
        );
        let answer = format!("{cert}.ocsp");
        openssl(&[
            "ocsp", "-index", &index, "-rsigner", &authority, "-rkey", &authority, "-CA",
            &authority, "-issuer", &authority, "-cert", &cert, "-ndays", "3", "-respout", &answer,
        ]);
        folder.file(
            "server.pem.issuer",
            &std::fs::read(&authority).expect("a file"),
        );
        let port = port();
        let _proxy = Proxy::start(program, &frontend(port, &format!("crt {cert}"), ""));
        let address = format!("127.0.0.1:{port}");
        let text = openssl(&[
            "s_client",
            "-connect",
            &address,
            "-servername",
            "server.example",
            "-status",
        ]);
        assert!(
            text.contains("OCSP Response Status: successful"),
            "{}: {text}",
            program.name
        );
    });
}

#[test]
fn a_certificate_changes_while_running() {
    each(|program| {
        let folder = Folder::new();
        let one = certificate(&folder, "one.pem", EC, "one.example", "");
        let new = certificate(&folder, "new.pem", RSA, "new.example", "");
        let pem = std::fs::read_to_string(&new).expect("a file");
        let port = port();
        let proxy = Proxy::start(program, &frontend(port, &format!("crt {one}"), ""));
        assert_eq!(
            proxy.control("show ssl cert"),
            format!("# filename\n{one}\n\n"),
            "{}",
            program.name
        );
        assert!(
            proxy
                .control(&format!("commit ssl cert {one}"))
                .starts_with("No ongoing transaction"),
            "{}",
            program.name
        );
        let set = |path: &str, pem: &str| proxy.control(&format!("set ssl cert {path} <<\n{pem}"));
        assert_eq!(
            set("/nowhere", &pem),
            "Can't replace a certificate which is not referenced by the configuration!\nCan't update /nowhere!\n\n",
            "{}",
            program.name
        );
        assert_eq!(
            set(&one, &pem),
            format!("Transaction created for certificate {one}!\n\n"),
            "{}",
            program.name
        );
        assert_eq!(
            subject(port, "new.example", &[]),
            "O=Lab,CN=one.example",
            "{}",
            program.name
        );
        assert!(
            proxy
                .control("show ssl cert")
                .starts_with(&format!("# transaction\n*{one}\n# filename\n")),
            "{}",
            program.name
        );
        let shown = proxy.control(&format!("show ssl cert *{one}"));
        for part in [
            "Status: Unused\n",
            "Subject Alternative Name: DNS:new.example\n",
            "Algorithm: RSA2048\n",
            "Subject: /O=Lab/CN=new.example\n",
        ] {
            assert!(shown.contains(part), "{}: {shown}", program.name);
        }
        assert_eq!(
            proxy.control(&format!("commit ssl cert {one}")),
            format!("Committing {one}.\nSuccess!\n\n"),
            "{}",
            program.name
        );
        assert_eq!(
            subject(port, "new.example", &[]),
            "O=Lab,CN=new.example",
            "{}",
            program.name
        );
        set(&one, &std::fs::read_to_string(&one).expect("a file"));
        assert_eq!(
            proxy.control(&format!("abort ssl cert {one}")),
            format!("Transaction aborted for certificate '{one}'!\n\n"),
            "{}",
            program.name
        );
        assert_eq!(
            subject(port, "one.example", &[]),
            "O=Lab,CN=new.example",
            "{}",
            program.name
        );
    });
}

#[test]
fn a_reload_reads_certificates_again_and_a_bad_one_changes_nothing() {
    let program = Program::mulgil();
    let folder = Folder::new();
    let one = certificate(&folder, "one.pem", EC, "one.example", "");
    let port = port();
    let proxy = Proxy::start(&program, &frontend(port, &format!("crt {one}"), ""));
    assert_eq!(subject(port, "one.example", &[]), "O=Lab,CN=one.example");
    std::fs::write(&one, "no certificate").expect("written");
    proxy.signal("-HUP");
    proxy.wait_for_output("stays as it was");
    assert_eq!(subject(port, "one.example", &[]), "O=Lab,CN=one.example");
    certificate(&folder, "one.pem", RSA, "new.example", "");
    proxy.signal("-HUP");
    proxy.wait_for_output("in force");
    assert_eq!(subject(port, "one.example", &[]), "O=Lab,CN=new.example");
}

#[test]
fn files_that_cannot_be_used_are_errors_with_a_place() {
    let program = Program::mulgil();
    let folder = Folder::new();
    let one = certificate(&folder, "one.pem", EC, "one.example", "");
    let two = certificate(&folder, "two.pem", EC, "two.example", "");
    let read = |path: &str| std::fs::read_to_string(path).expect("a file");
    let keyless = folder.file("keyless.pem", read(&format!("{one}.c")).as_bytes());
    let mixed = folder.file(
        "mixed.pem",
        (read(&format!("{one}.c")) + &read(&format!("{two}.k"))).as_bytes(),
    );
    for (words, wanted) in [
        (
            "ssl crt /nowhere.pem".to_string(),
            "certificate '/nowhere.pem' cannot be read",
        ),
        (format!("ssl crt {keyless}"), "has no private key"),
        (
            format!("ssl crt {mixed}"),
            "does not belong to its certificate",
        ),
        ("ssl".to_string(), "add 'crt FILE'"),
        (
            format!("ssl crt {one} verify required"),
            "only with 'ca-file FILE'",
        ),
        (
            format!("ssl crt {one} ssl-min-ver TLSv9"),
            "unknown version 'TLSv9'",
        ),
        (
            format!("ssl crt {one} ssl-max-ver TLSv1.1"),
            "no TLS version is left",
        ),
        (format!("ssl crt {one} alpn h2"), "does not have yet"),
    ] {
        let text = frontend(1, words.strip_prefix("ssl ").unwrap_or(""), "");
        let file = folder.file("bad.cfg", text.as_bytes());
        let (status, said) = program.run(&["-c", "-f", &file]);
        assert_eq!(status, 1, "{words}: {said}");
        assert!(
            said.contains(wanted) && said.contains(":7:"),
            "{words}: {said}"
        );
    }
    let file = folder.file(
        "warn.cfg",
        frontend(
            1,
            &format!("crt {one} ciphers AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256"),
            "",
        )
        .as_bytes(),
    );
    let (status, said) = program.run(&["-c", "-f", &file]);
    assert_eq!(
        (status, said.matches("AES128-SHA'").count()),
        (0, 1),
        "{said}"
    );
}

#[test]
fn what_a_clients_hello_lists_makes_a_fingerprint() {
    let seen = std::sync::Mutex::new(Vec::new());
    each(|program| {
        let folder = Folder::new();
        let file = certificate(&folder, "a.pem", EC, "a.example", "");
        let port = port();
        let config = format!(
            "global\n    tune.ssl.capture-buffer-size 128\n{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {file}\n    http-request return status 200 content-type text/plain lf-string \"%[ssl_fc_protocol_hello_id],%[ssl_fc_cipherlist_bin(1),be2dec(-,2)],%[ssl_fc_extlist_bin(1),be2dec(-,2)],%[ssl_fc_eclist_bin(1),be2dec(-,2)],%[ssl_fc_ecformats_bin,be2dec(-,1)] %[ssl_fc_cipherlist_hex] %[ssl_fc_cipherlist_xxh]\"\n"
        );
        let _proxy = Proxy::start(program, &config);
        let (status, text) = curl(
            port,
            "a.example",
            "/",
            &[
                "--tls13-ciphers",
                "TLS_AES_128_GCM_SHA256",
                "--ciphers",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "--curves",
                "X25519:P-256",
            ],
        );
        assert_eq!(status, 0, "{}", program.name);
        assert!(
            text.starts_with("771,4865-49195"),
            "{}: {text}",
            program.name
        );
        seen.lock().expect("no panic").push(text);
    });
    let seen = seen.into_inner().expect("no panic");
    assert!(seen.iter().all(|text| *text == seen[0]), "{seen:?}");
}
