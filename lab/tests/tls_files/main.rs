//! Certificates, authorities and revocation lists changed over the control socket: every answer as
//! HAProxy's, and clients see the change.

mod answers;
mod files;
mod servers;
mod sessions;

use files::Files;
use lab::{Program, Proxy, each, openssl, port};
use std::process::{Command, Stdio};

/// What `openssl s_client` tells of a connection.
fn client(port: u16, name: &str, more: &[&str]) -> String {
    let address = format!("127.0.0.1:{port}");
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address,
            "-servername",
            name,
            "-status",
        ])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The subject of the certificate that a client is shown, its OCSP answer's status before it.
fn shown(port: u16, name: &str, more: &[&str]) -> String {
    let text = client(port, name, more);
    let find = |start: &str| {
        let mut lines = text.lines().map(str::trim);
        let line = lines.find_map(|l| l.strip_prefix(start).map(|l| l.replace(' ', "")));
        line.unwrap_or_default()
    };
    format!("{}{}", find("Cert Status:"), find("subject="))
}

fn curl(port: u16, certificate: &str) -> String {
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "10", "--cert", certificate])
        .arg(format!("https://127.0.0.1:{port}/"))
        .output()
        .expect("curl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn start(program: &Program, files: &Files, ports: [u16; 3]) -> Proxy {
    let list = files.folder.file(
        "list",
        format!(
            "# sites\n{}\n\n{} [alpn http/1.1 ssl-min-ver TLSv1.2] two.example !x.example\n",
            files.path("one.pem"),
            files.path("two.pem"),
        )
        .as_bytes(),
    );
    let [listed, judging, shared] = ports;
    let (leaf, root, crl) = (
        files.path("leaf.pem"),
        files.path("root.c"),
        files.path("empty.crl"),
    );
    let (one, keys) = (files.path("one.pem"), files.path("tickets"));
    Proxy::start(
        program,
        &format!(
            "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\nfrontend f\n    bind 127.0.0.1:{listed} ssl crt-list {list}\n    bind 127.0.0.1:{judging} ssl crt {leaf} ca-file {root} verify required crl-file {crl}\n    bind 127.0.0.1:{shared} ssl crt {one} tls-ticket-keys {keys}\n    http-request return status 200 content-type text/plain lf-string \"%[ssl_c_verify] %[ssl_fc_is_resumed] %[ssl_f_s_dn(CN)]\"\n"
        ),
    )
}

#[test]
fn commands_on_files_answer_as_haproxys() {
    let files = Files::new();
    let of = |program: &Program| {
        let proxy = start(program, &files, [port(), port(), port()]);
        let (list, one) = (files.path("list"), files.path("one.pem"));
        let (leaf, root, crl) = (
            files.path("leaf.pem"),
            files.path("root.c"),
            files.path("empty.crl"),
        );
        let answer = files.path("answer");
        openssl(&[
            "base64",
            "-A",
            "-in",
            &files.path("leaf.pem.ocsp"),
            "-out",
            &answer,
        ]);
        let answer = files.text("answer");
        let mut asked: Vec<String> = [
            "show ssl cert",
            "show ssl crt-list",
            "show ssl crt-list -n LIST",
            "show ssl crt-list LIST",
            "show ssl crt-list nosuch",
            "show ssl cert ONE",
            "show ssl cert LEAF",
            "show ssl cert nosuch",
            "new ssl cert new.pem",
            "new ssl cert new.pem",
            "show ssl cert new.pem",
            "add ssl crt-list LIST new.pem",
            "set ssl cert new.pem <three.pem",
            "show ssl cert",
            "show ssl cert *new.pem",
            "commit ssl cert new.pem",
            "show ssl cert new.pem",
            "add ssl crt-list LIST new.pem",
            "add ssl crt-list LIST <<\nnew.pem [alpn http/1.0 verify none] three.example\n",
            "add ssl crt-list LIST <three.pem",
            "add ssl crt-list LIST <<\nnosuch.pem\n",
            "add ssl crt-list nosuch new.pem",
            "add ssl crt-list LIST <<\nnew.pem [alpn http/1.0]\n",
            "show ssl crt-list -n LIST",
            "del ssl cert new.pem",
            "del ssl crt-list LIST new.pem",
            "del ssl crt-list LIST new.pem:7",
            "del ssl crt-list LIST new.pem:9",
            "del ssl crt-list LIST new.pem:6",
            "del ssl crt-list LIST new.pem",
            "del ssl cert new.pem",
            "del ssl cert new.pem",
            "del ssl crt-list LIST",
            "add ssl crt-list",
            "del ssl cert",
            "del ssl cert ONE",
            "new ssl cert",
            "set ssl cert",
            "set ssl cert ONE",
            "commit ssl cert",
            "abort ssl cert",
            "abort ssl cert ONE",
            "commit ssl cert ONE",
            "set ssl cert ONE <tickets",
            "set ssl cert ONE.key <three.k",
            "set ssl cert ONE <three.c",
            "commit ssl cert LEAF",
            "abort ssl cert LEAF",
            "commit ssl cert ONE",
            "abort ssl cert ONE",
            "set ssl cert nosuch.pem <three.pem",
            "set ssl cert LEAF.ocsp <<\nANSWER\n",
            "commit ssl cert LEAF",
            "set ssl cert LEAF.issuer <root.c",
            "abort ssl cert LEAF",
            "set ssl ocsp-response",
            "set ssl ocsp-response abc",
            "set ssl ocsp-response YWJj",
            "set ssl ocsp-response <<\nANSWER\n",
            "show ssl ocsp-response abcd",
            "show tls-keys",
            "set ssl tls-key #0 6WnARU9s/Z/3",
            "set ssl tls-key #9 6WnARU9s/Z/3",
            "set ssl tls-key",
            "set ssl tls-key #0 abc",
            "show tls-keys #5",
            "show tls-keys nosuch",
            "show tls-keys *",
            "set ssl tls-key #0 EcZY2Wtayu3ISPWoAlLYy+YKO4NQAL9q2C6oKSj5aaInGdJaUSOJ1FfKYUj4Eu1q",
            "show tls-keys #0",
        ]
        .map(String::from)
        .to_vec();
        for (kind, file, good, other) in [
            ("ca-file", "ROOT", "root.c", "one.c"),
            ("crl-file", "CRL", "empty.crl", "full.crl"),
        ] {
            let commands = [
                "show ssl KIND FILE",
                "show ssl KIND FILE:1",
                "show ssl KIND FILE:2",
                "new ssl KIND x.pem",
                "new ssl KIND x.pem",
                "show ssl KIND x.pem",
                "set ssl KIND x.pem <OTHER",
                "show ssl KIND *x.pem",
                "set ssl KIND x.pem <GOOD",
                "commit ssl KIND x.pem",
                "show ssl KIND x.pem",
                "commit ssl KIND x.pem",
                "abort ssl KIND x.pem",
                "set ssl KIND nosuch <GOOD",
                "set ssl KIND FILE <tickets",
                "set ssl KIND FILE <OTHER",
                "set ssl KIND x.pem <GOOD",
                "commit ssl KIND x.pem",
                "abort ssl KIND x.pem",
                "abort ssl KIND FILE",
                "del ssl KIND FILE",
                "del ssl KIND x.pem",
                "del ssl KIND x.pem",
                "del ssl KIND",
                "new ssl KIND",
                "set ssl KIND",
                "abort ssl KIND",
                "show ssl KIND nosuch",
                "show ssl KIND *nosuch",
                "set ssl KIND FILE <OTHER",
                "commit ssl KIND FILE",
            ];
            asked.extend(commands.map(|c| {
                c.replace("KIND", kind)
                    .replace("FILE", file)
                    .replace("GOOD", good)
                    .replace("OTHER", other)
            }));
        }
        let answers = asked.into_iter().map(|command| {
            let mut full = command.clone();
            for (word, path) in [
                ("LIST", &list),
                ("ONE", &one),
                ("LEAF", &leaf),
                ("ROOT", &root),
                ("CRL", &crl),
                ("ANSWER", &answer),
            ] {
                full = full.replace(word, path);
            }
            if let Some((start, file)) = full.split_once(" <").filter(|(_, f)| !f.starts_with('<'))
            {
                full = files.with(start, file);
            }
            let answer = proxy.control(&full);
            // HAProxy has the system's authorities always; answers name their file since 2.8.
            let kept =
                |l: &&str| !l.starts_with("@system-ca") && !l.starts_with("Certificate path");
            let answer: Vec<&str> = answer.lines().filter(kept).collect();
            // Debian's haproxy has a byte of zero after protocols.
            format!("> {command}\n{}", answer.join("\n").replace('\0', ""))
        });
        answers.collect::<Vec<String>>()
    };
    let ours = of(&Program::mulgil());
    let Some(haproxy) = Program::haproxy() else {
        return;
    };
    for (ours, theirs) in ours.iter().zip(of(&haproxy)) {
        assert_eq!(*ours, theirs);
    }
}

#[test]
fn running_listeners_follow_every_change() {
    let files = Files::new();
    each(|program| {
        let ports = [port(), port(), port()];
        let proxy = start(program, &files, ports);
        let [listed, judging, _] = ports;
        let (list, leaf) = (files.path("list"), files.path("leaf.pem"));
        let done = |command: &str| {
            let answer = proxy.control(command);
            assert!(
                ["Success!", "created", "deleted", "updated", "New "]
                    .iter()
                    .any(|w| answer.contains(w)),
                "{}: {command}: {answer}",
                program.name
            );
        };
        // A certificate that the files never had, into a running listener and out of it.
        assert_eq!(
            shown(listed, "three.example", &[]),
            "O=Lab,CN=one.example",
            "{}",
            program.name
        );
        done("new ssl cert new.pem");
        done(&files.with("set ssl cert new.pem", "three.pem"));
        done("commit ssl cert new.pem");
        done(&format!(
            "add ssl crt-list {list} <<\nnew.pem [ssl-min-ver TLSv1.3] three.example\n"
        ));
        assert_eq!(
            shown(listed, "three.example", &[]),
            "O=Lab,CN=three.example",
            "{}",
            program.name
        );
        assert_eq!(
            shown(listed, "three.example", &["-tls1_2"]),
            "",
            "{}",
            program.name
        );
        done(&format!("del ssl crt-list {list} new.pem"));
        assert_eq!(
            shown(listed, "three.example", &[]),
            "O=Lab,CN=one.example",
            "{}",
            program.name
        );
        done("del ssl cert new.pem");
        // The answer of OCSP from the file beside the certificate.
        let with_certificate = ["-cert", &leaf, "-key", &leaf];
        assert_eq!(
            shown(judging, "leaf.example", &with_certificate),
            "goodO=Lab,CN=leaf.example",
            "{}",
            program.name
        );
        // A client is believed until its certificate is revoked, or another authority is asked.
        assert_eq!(curl(judging, &leaf), "0 0 leaf.example", "{}", program.name);
        let crl = files.path("empty.crl");
        done(&files.with(&format!("set ssl crl-file {crl}"), "full.crl"));
        assert_eq!(
            curl(judging, &leaf),
            "0 0 leaf.example",
            "{}: not before the commit",
            program.name
        );
        done(&format!("commit ssl crl-file {crl}"));
        assert_eq!(curl(judging, &leaf), "", "{}: revoked", program.name);
        done(&files.with(&format!("set ssl crl-file {crl}"), "empty.crl"));
        done(&format!("commit ssl crl-file {crl}"));
        assert_eq!(curl(judging, &leaf), "0 0 leaf.example", "{}", program.name);
        let root = files.path("root.c");
        done(&files.with(&format!("set ssl ca-file {root}"), "one.c"));
        done(&format!("commit ssl ca-file {root}"));
        assert_eq!(
            curl(judging, &leaf),
            "",
            "{}: another authority",
            program.name
        );
    });
}
