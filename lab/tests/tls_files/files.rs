//! Certificates, authorities, lists and answers that the scenarios need.

use lab::{Folder, openssl};

/// The files that these scenarios need, made once.
pub struct Files {
    pub folder: Folder,
}

impl Files {
    /// Makes them.
    pub fn new() -> Files {
        let folder = Folder::new();
        let path = |name: &str| folder.path(name);
        for name in ["one", "two", "three", "root"] {
            let (key, cert) = lab::certificate(&folder, name);
            let both = [&cert, &key].map(|p| std::fs::read_to_string(p).expect("a file"));
            folder.file(&format!("{name}.pem"), both.concat().as_bytes());
        }
        // A certificate of that root, which an answer of OCSP is about.
        let (key, request, cert) = (path("leaf.k"), path("leaf.r"), path("leaf.c"));
        let (root, root_key) = (path("root.c"), path("root.k"));
        let extensions = folder.file("extensions", b"basicConstraints=CA:FALSE\n");
        openssl(&[
            "req",
            "-new",
            "-nodes",
            "-newkey",
            "rsa:2048",
            "-keyout",
            &key,
            "-out",
            &request,
            "-subj",
            "/O=Lab/CN=leaf.example",
        ]);
        openssl(&[
            "x509",
            "-req",
            "-days",
            "30",
            "-in",
            &request,
            "-CA",
            &root,
            "-CAkey",
            &root_key,
            "-extfile",
            &extensions,
            "-set_serial",
            "4660",
            "-out",
            &cert,
        ]);
        answer(&folder, "leaf.pem.ocsp", 7);
        let text = [&cert, &root, &key].map(|p| std::fs::read_to_string(p).expect("a file"));
        folder.file("leaf.pem", text.concat().as_bytes());
        for (name, row) in [
            ("empty.crl", ""),
            (
                "full.crl",
                "R\t361121000000Z\t261120000000Z\t1234\tunknown\t/O=Lab/CN=leaf.example\n",
            ),
        ] {
            let database = folder.file("database", row.as_bytes());
            let number = folder.file("number", b"01\n");
            let settings = format!(
                "[ca]\ndefault_ca=d\n[d]\ndatabase={database}\ndefault_md=sha256\ndefault_crl_days=30\ncrlnumber={number}\n"
            );
            let settings = folder.file("ca.cnf", settings.as_bytes());
            openssl(&[
                "ca",
                "-config",
                &settings,
                "-gencrl",
                "-keyfile",
                &root_key,
                "-cert",
                &root,
                "-out",
                &path(name),
            ]);
        }
        let keys = ["C", "D", "E"].map(|k| k.repeat(64) + "\n");
        folder.file("tickets", keys.concat().as_bytes());
        Files { folder }
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    /// What is in a file.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    /// A command with a file's content as its payload.
    pub fn with(&self, command: &str, file: &str) -> String {
        format!("{command} <<\n{}\n", self.text(file).trim_end())
    }
}

/// An answer of OCSP about the certificate of the root, good for some days.
pub fn answer(folder: &Folder, name: &str, days: u32) {
    let index = "V\t361121000000Z\t\t1234\tunknown\t/O=Lab/CN=leaf.example\n";
    let index = folder.file("index", index.as_bytes());
    let (root, key) = (folder.path("root.c"), folder.path("root.k"));
    openssl(&[
        "ocsp",
        "-index",
        &index,
        "-rsigner",
        &root,
        "-rkey",
        &key,
        "-CA",
        &root,
        "-issuer",
        &root,
        "-cert",
        &folder.path("leaf.c"),
        "-respout",
        &folder.path(name),
        "-ndays",
        &days.to_string(),
    ]);
}
