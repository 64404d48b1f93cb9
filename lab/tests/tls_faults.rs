//! Handshakes that fail: what the log says of each, as HAProxy; and what rules know of those that do
//! not.

use lab::{Folder, LogSink, PATIENCE, Program, Proxy, openssl, port};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Certificates, made once for both programs: `one` and `stranger` vouch for themselves, `root` for
/// `client` and for `revoked`, which its list revokes.
fn files() -> &'static Folder {
    static FILES: OnceLock<Folder> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = Folder::new();
        let path = |name: &str| folder.path(name);
        let join = |name: &str| {
            let parts = [format!("{name}.c"), format!("{name}.k")];
            let parts = parts.map(|p| std::fs::read_to_string(path(&p)).expect("a file"));
            folder.file(&format!("{name}.pem"), parts.concat().as_bytes());
        };
        for name in ["one", "stranger", "root"] {
            let subject = format!("/O=Lab/CN={name}");
            openssl(&[
                "req", "-x509", "-nodes", "-days", "30", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-keyout", &path(&format!("{name}.k")), "-out",
                &path(&format!("{name}.c")), "-subj", &subject, "-addext",
                "subjectAltName=DNS:one.example,IP:192.0.2.1",
            ]);
            join(name);
        }
        let extensions = folder.file("extensions", b"basicConstraints=CA:FALSE\n");
        for (name, serial) in [("client", "4097"), ("revoked", "4098")] {
            let (key, request) = (path(&format!("{name}.k")), path("request"));
            let subject = format!("/O=Lab/CN={name}");
            openssl(&[
                "req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-keyout", &key, "-out", &request, "-subj", &subject,
            ]);
            openssl(&[
                "x509", "-req", "-days", "30", "-in", &request, "-CA", &path("root.c"), "-CAkey",
                &path("root.k"), "-set_serial", serial, "-extfile", &extensions, "-out",
                &path(&format!("{name}.c")),
            ]);
            join(name);
        }
        let row = "R\t361121000000Z\t260101000000Z\t1002\tunknown\t/O=Lab/CN=revoked\n";
        let database = folder.file("database", row.as_bytes());
        let number = folder.file("number", b"01\n");
        let settings = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={database}\ndefault_md=sha256\ndefault_crl_days=30\ncrlnumber={number}\n"
        );
        let settings = folder.file("ca.cnf", settings.as_bytes());
        openssl(&[
            "ca", "-config", &settings, "-gencrl", "-keyfile", &path("root.k"), "-cert",
            &path("root.c"), "-out", &path("list.crl"),
        ]);
        folder
    })
}

/// Makes a handshake with openssl's client, whatever comes of it.
fn handshake(port: u16, words: &str) {
    let words = words.replace('@', &files().path(""));
    let _ = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
}

/// Sends bytes, ends its direction where told, and reads until the other side closes.
fn send(port: u16, bytes: &[u8], end: bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(bytes).expect("it reads");
    if end {
        stream.shutdown(Shutdown::Write).expect("a socket");
    }
    let _ = stream.read_to_end(&mut Vec::new());
}

fn both(of: impl Fn(&Program) -> Vec<String>) {
    let ours = of(&Program::mulgil());
    let Some(haproxy) = Program::haproxy() else {
        return;
    };
    for (ours, theirs) in ours.iter().zip(of(&haproxy)) {
        assert_eq!(*ours, theirs);
    }
}

/// Its name, the port, and what a client does there.
type Case<'a> = (&'a str, u16, &'a dyn Fn(u16));

#[test]
fn each_failure_has_haproxys_words_and_numbers() {
    both(|program| {
        let folder = files();
        let [new, old, judging, strict] = [port(), port(), port(), port()];
        let sink = LogSink::new();
        let (one, root, list) = (
            folder.path("one.pem"),
            folder.path("root.c"),
            folder.path("list.crl"),
        );
        let _proxy = Proxy::start(
            program,
            &format!(
                "global\n    log 127.0.0.1:{} local0\ndefaults\n    mode http\n    log global\n    timeout client 1s\n    timeout server 5s\n    timeout connect 2s\nfrontend f\n    bind 127.0.0.1:{new} ssl crt {one} ssl-min-ver TLSv1.3\n    bind 127.0.0.1:{old} ssl crt {one} ciphers ECDHE-ECDSA-AES128-GCM-SHA256 ssl-max-ver TLSv1.2\n    bind 127.0.0.1:{judging} ssl crt {one} ca-file {root} verify required crl-file {list}\n    bind 127.0.0.1:{strict} ssl crt {one} strict-sni\n    error-log-format \"case%[dst_port] %[ssl_fc] %[ssl_fc_err] %{{+Q}}[ssl_fc_err_str] %[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_c_ca_err_depth] %[ssl_fc_sni] %sslv/%sslc %[fc_err] %{{+Q}}[fc_err_str]\"\n    http-request return status 200\n",
                sink.port
            ),
        );
        let cases: [Case<'_>; 13] = [
            ("older than allowed", new, &|p| handshake(p, "-tls1_2")),
            ("no cipher in common", old, &|p| {
                handshake(p, "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384")
            }),
            ("newer than allowed", old, &|p| handshake(p, "-tls1_3")),
            ("no certificate", judging, &|p| handshake(p, "-tls1_2")),
            ("no certificate, TLS 1.3", judging, &|p| {
                handshake(p, "-tls1_3")
            }),
            ("unknown authority", judging, &|p| {
                handshake(p, "-tls1_2 -cert @stranger.pem")
            }),
            ("revoked", judging, &|p| {
                handshake(p, "-tls1_2 -cert @revoked.pem")
            }),
            ("a name that nothing is for", strict, &|p| {
                handshake(p, "-servername other.example")
            }),
            ("no name", strict, &|p| handshake(p, "-noservername")),
            ("plain HTTP", new, &|p| {
                send(p, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false)
            }),
            ("garbage", new, &|p| {
                send(p, b"garbage garbage garbage\r\n", false)
            }),
            ("left in the hello", new, &|p| {
                send(p, b"\x16\x03\x01", true)
            }),
            ("slow", new, &|p| send(p, b"\x16\x03\x01", false)),
        ];
        cases
            .into_iter()
            .map(|(case, port, act)| {
                act(port);
                let line = sink.line("case");
                let (_, rest) = line.split_once("case").expect("found");
                let (_, rest) = rest.split_once(' ').expect("fields");
                format!("{case}: {rest}")
            })
            .collect()
    });
}

/// The body of an answer over TLS.
fn ask(port: u16, words: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "10"])
        .args(words)
        .arg(format!("https://127.0.0.1:{port}/"))
        .output()
        .expect("curl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn rules_know_our_own_certificate_the_chain_and_what_was_let_pass() {
    both(|program| {
        let folder = files();
        let [plain, lenient] = [port(), port()];
        let (one, root) = (folder.path("one.pem"), folder.path("root.c"));
        let fetches = "%[ssl_f_s_dn] %[ssl_f_i_dn(CN)] %[ssl_f_serial,hex] %[ssl_f_sha1,hex] %[ssl_f_key_alg] %[ssl_f_sig_alg] %[ssl_f_notbefore] %[ssl_f_notafter] %[ssl_f_version] %[ssl_f_der,sha1,hex] %[ssl_c_verify] %[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_c_ca_err_depth] %[ssl_c_chain_der,sha1,hex] %[ssl_fc_err] %[ssl_fc_has_early] %[ssl_fc_cipherlist_str(1)]";
        let _proxy = Proxy::start(
            program,
            &format!(
                "global\n    tune.ssl.capture-buffer-size 512\ndefaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\nfrontend f\n    bind 127.0.0.1:{plain} ssl crt {one}\n    bind 127.0.0.1:{lenient} ssl crt {one} ca-file {root} verify required crt-ignore-err 18\n    http-request return status 200 content-type text/plain lf-string \"{fetches}\"\n"
            ),
        );
        let client = folder.path("client.pem");
        let stranger = folder.path("stranger.pem");
        vec![
            ask(plain, &["--tls-max", "1.2"]),
            ask(lenient, &["--cert", &client]),
            ask(lenient, &["--cert", &stranger]),
        ]
    });
}

#[test]
fn kept_secrets_are_those_of_the_client() {
    let of = |program: &Program| {
        let folder = files();
        let port = port();
        let one = folder.path("one.pem");
        let _proxy = Proxy::start(
            program,
            &format!(
                "global\n    tune.ssl.keylog on\ndefaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\nfrontend f\n    bind 127.0.0.1:{port} ssl crt {one}\n    http-request return status 200 content-type text/plain lf-string \"CLIENT_RANDOM %[ssl_fc_client_random,hex] %[ssl_fc_session_key,hex]\\nCLIENT_HANDSHAKE_TRAFFIC_SECRET %[ssl_fc_client_random,hex] %[ssl_fc_client_handshake_traffic_secret]\\nSERVER_HANDSHAKE_TRAFFIC_SECRET %[ssl_fc_client_random,hex] %[ssl_fc_server_handshake_traffic_secret]\\nCLIENT_TRAFFIC_SECRET_0 %[ssl_fc_client_random,hex] %[ssl_fc_client_traffic_secret_0]\\nSERVER_TRAFFIC_SECRET_0 %[ssl_fc_client_random,hex] %[ssl_fc_server_traffic_secret_0]\\nEXPORTER_SECRET %[ssl_fc_client_random,hex] %[ssl_fc_exporter_secret]\\n\"\n"
            ),
        );
        for (version, labels) in [("1.2", 1), ("1.3", 5)] {
            let log = folder.path(&format!("keys-{}-{version}", program.name));
            let output = Command::new("curl")
                .args(["-sk", "--max-time", "10", "--tls-max", version])
                .arg(format!("https://127.0.0.1:{port}/"))
                .env("SSLKEYLOGFILE", &log)
                .output()
                .expect("curl is installed");
            let told = String::from_utf8_lossy(&output.stdout).to_ascii_lowercase();
            let known = std::fs::read_to_string(&log)
                .unwrap_or_default()
                .to_ascii_lowercase();
            // curl that keeps no log proves nothing.
            if known.is_empty() {
                continue;
            }
            let same = told.lines().filter(|l| known.lines().any(|k| k == *l));
            assert_eq!(
                same.count(),
                labels,
                "{} {version}:\n{told}\n{known}",
                program.name
            );
        }
    };
    lab::each(of);
}
