//! Forms in which certificates and keys come, and what is said of those that are no good.

use crate::{TIMES, at, join, made, shown};
use lab::{Folder, Program, Proxy, each, openssl, port};

/// Files of a folder of their own: keys in every form that openssl writes.
fn forms() -> Folder {
    let folder = Folder::new();
    let made = made();
    let (rsa, one) = (made.path("rsa.k"), made.path("one.k"));
    let out = |name: &str| folder.path(name);
    openssl(&["rsa", "-traditional", "-in", &rsa, "-out", &out("pkcs1.k")]);
    openssl(&["pkey", "-in", &rsa, "-out", &out("pkcs8.k")]);
    openssl(&["ec", "-in", &one, "-out", &out("sec1.k")]);
    for (name, certificate) in [("pkcs1", "rsa.c"), ("pkcs8", "rsa.c"), ("sec1", "one.c")] {
        let key = out(&format!("{name}.k"));
        join(
            &folder,
            &format!("{name}.pem"),
            &[&made.path(certificate), &key],
        );
    }
    // What openssl writes before an elliptic key, unless it is told not to.
    openssl(&["ecparam", "-name", "prime256v1", "-out", &out("parameters")]);
    join(
        &folder,
        "parameters.pem",
        &[&out("parameters"), &out("sec1.k"), &made.path("one.c")],
    );
    let keyed = |name: &str, key: &[&str]| {
        let (file, cert) = (out(&format!("{name}.k")), out(&format!("{name}.c")));
        let mut args = vec!["genpkey", "-out", &file];
        args.extend(key);
        openssl(&args);
        let subject = format!("/O=Lab/CN={name}.example");
        openssl(&[
            "req", "-x509", "-key", &file, "-subj", &subject, "-days", "30", "-out", &cert,
        ]);
        join(&folder, &format!("{name}.pem"), &[&cert, &file]);
    };
    keyed("ed25519", &["-algorithm", "ed25519"]);
    keyed(
        "p521",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    );
    keyed(
        "short",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
    );
    let encrypted = ["-aes256", "-passout", "pass:x", "-out"];
    let with = |command: &[&str], file: &str| {
        let mut args = command.to_vec();
        args.extend(encrypted);
        args.push(file);
        openssl(&args);
    };
    with(&["pkey", "-in", &rsa], &out("encrypted8.k"));
    with(&["rsa", "-traditional", "-in", &rsa], &out("encrypted1.k"));
    for name in ["encrypted8", "encrypted1"] {
        join(
            &folder,
            &format!("{name}.pem"),
            &[&made.path("rsa.c"), &out(&format!("{name}.k"))],
        );
    }
    // The end of its validity is years ago; nobody but the client minds.
    let (request, database) = (out("request"), folder.file("database", b""));
    let serial = folder.file("serial", b"01\n");
    let settings = format!(
        "[ca]\ndefault_ca=d\n[d]\ndatabase={database}\nserial={serial}\nnew_certs_dir={}\ndefault_md=sha256\npolicy=p\n[p]\nCN=supplied\n",
        out("")
    );
    let settings = folder.file("ca.cnf", settings.as_bytes());
    openssl(&[
        "req",
        "-new",
        "-key",
        &one,
        "-subj",
        "/CN=expired.example",
        "-out",
        &request,
    ]);
    openssl(&[
        "ca",
        "-batch",
        "-notext",
        "-config",
        &settings,
        "-selfsign",
        "-keyfile",
        &one,
        "-in",
        &request,
        "-startdate",
        "200101000000Z",
        "-enddate",
        "200201000000Z",
        "-out",
        &out("expired.c"),
    ]);
    join(&folder, "expired.pem", &[&out("expired.c"), &one]);
    let text = std::fs::read_to_string(made.path("one.pem")).expect("a file");
    folder.file("crlf.pem", text.replace('\n', "\r\n").as_bytes());
    join(&folder, "keyfirst.pem", &[&one, &made.path("one.c")]);
    join(
        &folder,
        "mixed.pem",
        &[&made.path("one.c"), &made.path("two.k")],
    );
    join(&folder, "keyless.pem", &[&made.path("one.c")]);
    folder.file("cut.pem", &text.as_bytes()[..300]);
    folder.file("damaged.pem", text.replacen("\nMII", "\n!!!", 1).as_bytes());
    folder.file("garbage.pem", b"garbage\n");
    openssl(&[
        "x509",
        "-in",
        &made.path("one.c"),
        "-outform",
        "der",
        "-out",
        &out("binary.pem"),
    ]);
    // Files beside their certificates.
    // The same name as another certificate has, with a key of another kind.
    let same = ["-subj", "/O=Lab/CN=one.example", "-days", "30", "-out"];
    let mut args = vec!["req", "-x509", "-key", &rsa];
    args.extend(same);
    let cert = out("same.c");
    args.push(&cert);
    openssl(&args);
    join(&folder, "both.rsa", &[&cert, &rsa]);
    for (name, from) in [
        ("apart.crt", "one.c"),
        ("apart.key", "one.k"),
        ("beside.pem", "two.c"),
        ("beside.pem.key", "two.k"),
        ("both.ecdsa", "one.pem"),
    ] {
        join(&folder, name, &[&made.path(from)]);
    }
    std::fs::create_dir_all(out("empty")).expect("a folder");
    folder
}

#[test]
fn keys_are_read_in_every_form_and_clients_are_shown_their_certificates() {
    let folder = forms();
    each(|program| {
        for (global, words, wanted) in [
            ("", "crt %pkcs1.pem", "rsa.example"),
            ("", "crt %pkcs8.pem", "rsa.example"),
            ("", "crt %sec1.pem", "one.example"),
            ("", "crt %parameters.pem", "one.example"),
            ("", "crt %ed25519.pem", "ed25519.example"),
            ("", "crt %p521.pem", "p521.example"),
            ("", "crt %expired.pem", "expired.example"),
            ("", "crt %crlf.pem", "one.example"),
            ("", "crt %keyfirst.pem", "one.example"),
            ("", "crt %beside.pem", "two.example"),
            ("    ssl-load-extra-del-ext\n", "crt %apart.crt", "apart"),
            (
                "    ssl-load-extra-files key\n",
                "crt %beside.pem",
                "two.example",
            ),
        ] {
            let port = port();
            let words = words.replace('%', &folder.path(""));
            let wanted = if wanted == "apart" {
                "one.example"
            } else {
                wanted
            };
            let _proxy = Proxy::start(
                program,
                &format!("{global}{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl {words}\n"),
            );
            assert_eq!(shown(port, ""), wanted, "{}: {words}", program.name);
        }
        // A bundle: the client's abilities decide.
        let port = port();
        let both = folder.path("both");
        let _proxy = Proxy::start(
            program,
            &format!("{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {both}\n"),
        );
        for (sigalgs, kind) in [
            ("ECDSA+SHA256:RSA-PSS+SHA256", "ECDSA"),
            ("RSA-PSS+SHA256:RSA+SHA256", "RSA-PSS"),
        ] {
            let words = format!("-servername one.example -tls1_3 -sigalgs {sigalgs}");
            let output = crate::client(port, &words, "");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let wanted = format!("Peer signature type: {kind}");
            assert!(text.contains(&wanted), "{}: {kind}: {text}", program.name);
        }
    });
}

#[test]
fn files_that_are_no_good_are_named_with_the_reason_and_the_remedy() {
    let folder = forms();
    let mulgil = Program::mulgil();
    for (global, words, reason) in [
        (
            "",
            "crt %mixed.pem",
            "has a private key that does not belong to its certificate",
        ),
        (
            "",
            "crt %keyless.pem",
            "has no private key: add it to the file, or put it beside",
        ),
        (
            "",
            "crt %cut.pem",
            "is cut off: -----END CERTIFICATE----- is missing",
        ),
        ("", "crt %damaged.pem", "it is damaged"),
        (
            "",
            "crt %garbage.pem",
            "has no certificate (-----BEGIN CERTIFICATE-----)",
        ),
        (
            "",
            "crt %binary.pem",
            "is binary (DER or PKCS#12), not PEM: convert it",
        ),
        (
            "",
            "crt %encrypted1.pem",
            "is encrypted, and nobody is there to type its passphrase",
        ),
        (
            "",
            "crt %encrypted8.pem",
            "is encrypted, and nobody is there to type its passphrase",
        ),
        (
            "",
            "crt %short.pem",
            "(that of the certificate is RSA1024): RSA keys have 2048",
        ),
        (
            "",
            "crt %empty",
            "put one there, or add 'strict-sni' if it is to be filled later",
        ),
        ("", "crt %nowhere", "cannot be read"),
        (
            "    ssl-load-extra-files none\n",
            "crt %both",
            "cannot be read",
        ),
        (
            "    ssl-load-extra-files ocsp issuer\n",
            "crt %beside.pem",
            "has no private key",
        ),
    ] {
        let words = words.replace('%', &folder.path(""));
        let text =
            format!("global\n{global}{TIMES}frontend f\n    bind 127.0.0.1:9443 ssl {words}\n");
        let file = folder.file("bad.cfg", text.as_bytes());
        let (status, said) = mulgil.run(&["-c", "-f", &file]);
        assert_eq!(status, 1, "{words}: {said}");
        assert!(said.contains(reason), "{words}: {said}");
        if let Some(haproxy) = Program::haproxy() {
            let (status, theirs) = haproxy.run(&["-c", "-f", &file]);
            assert_eq!(status, 1, "{words}: {theirs}");
        }
    }
}

#[test]
fn an_empty_directory_is_filled_over_the_control_socket_where_names_must_match() {
    let folder = Folder::new();
    let empty = folder.path("empty");
    std::fs::create_dir_all(&empty).expect("a folder");
    let pem = std::fs::read_to_string(made().path("two.pem")).expect("a file");
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!("{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {empty} strict-sni\n"),
        );
        proxy.wait_for_output("no ");
        let asked = "-servername two.example";
        assert_eq!(shown(port, asked), "", "{}", program.name);
        let file = format!("{empty}/two.pem");
        for (command, wanted) in [
            (
                format!("new ssl cert {file}"),
                "New empty certificate store",
            ),
            (
                format!("set ssl cert {file} <<\n{pem}"),
                "Transaction created",
            ),
            (format!("commit ssl cert {file}"), "Success!"),
            (format!("add ssl crt-list {empty} {file}"), "Success!"),
        ] {
            let said = proxy.control(&command);
            assert!(said.contains(wanted), "{}: {said}", program.name);
        }
        assert_eq!(shown(port, asked), "two.example", "{}", program.name);
        assert_eq!(
            shown(port, "-servername no.example"),
            "",
            "{}",
            program.name
        );
    });
}

#[test]
fn chains_are_completed_from_a_folder_and_cut_where_told() {
    let chains = Folder::new();
    let (inter, root) = (made().path("inter.c"), made().path("root.c"));
    join(&chains, "inter.pem", &[&inter, &root]);
    each(|program| {
        for (global, most) in [("", 3), ("    ssl-skip-self-issued-ca\n", 2)] {
            let port = port();
            let _proxy = Proxy::start(
                program,
                &format!(
                    "    issuers-chain-path {}\n{global}{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {}\n",
                    chains.path("").trim_end_matches('/'),
                    at("@leaf.pem"),
                ),
            );
            let output = crate::client(port, "-showcerts", "");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let sent = text.matches("BEGIN CERTIFICATE").count();
            assert_eq!(sent, most, "{}: {text}", program.name);
        }
    });
}
