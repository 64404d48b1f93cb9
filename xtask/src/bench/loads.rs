//! What is measured: one entry a load.

/// A part of the page, with its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// CPU time per request, one worker.
    Http,
    /// The same with long lists of patterns.
    Lists,
    /// Resident memory.
    Memory,
    /// Two workers against one.
    Workers,
    /// TLS to the client.
    Tls,
    /// TCP mode.
    Tcp,
    /// The choice among many servers.
    Choosing,
    /// UDP mode.
    Udp,
}

impl Section {
    /// In the order of the page.
    pub const ALL: [Section; 8] = [
        Section::Http,
        Section::Lists,
        Section::Memory,
        Section::Workers,
        Section::Tls,
        Section::Tcp,
        Section::Choosing,
        Section::Udp,
    ];

    /// As the command line and the markers in the page name it.
    pub fn name(self) -> &'static str {
        match self {
            Section::Http => "http",
            Section::Lists => "lists",
            Section::Memory => "memory",
            Section::Workers => "workers",
            Section::Tls => "tls",
            Section::Tcp => "tcp",
            Section::Choosing => "choosing",
            Section::Udp => "udp",
        }
    }
}

/// The certificate that the proxy shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// ECDSA with P-256.
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// A file of patterns, and the rule that asks it.
pub struct List {
    /// The rule; `LIST` stands for the file.
    pub rule: &'static str,
    /// The line of this number.
    pub line: fn(u32) -> String,
}

/// How many lines such a file has.
pub const LINES: u32 = 100_000;

/// One load.
pub struct Load {
    /// As the command line names it.
    pub key: &'static str,
    /// As the table names it.
    pub name: &'static str,
    /// Where its row is.
    pub section: Section,
    /// Busy connections.
    pub connections: u32,
    /// Connections that were used once and are kept.
    pub idle: u32,
    /// What is asked for; empty in TCP mode.
    pub path: &'static str,
    /// A new connection for each request.
    pub close: bool,
    /// Access rules, header edits and a log.
    pub rules: bool,
    /// A list that each request is looked for in, and not found.
    pub list: Option<List>,
    /// Servers to choose among by `leastconn`; the proxy sends the client to the chosen one, so that
    /// the choice is nearly all the work there is. 0: one server, which is asked.
    pub servers: u32,
    /// TLS to the client.
    pub tls: Option<Key>,
    /// `mode tcp`.
    pub tcp: bool,
}

/// What most loads have in common.
const PLAIN: Load = Load {
    key: "",
    name: "",
    section: Section::Http,
    connections: 64,
    idle: 0,
    path: "/1k",
    close: false,
    rules: false,
    list: None,
    servers: 0,
    tls: None,
    tcp: false,
};

/// What loads that measure the choice of a server have in common. HAProxy closes the connection when
/// it sends a client elsewhere.
const CHOOSING: Load = Load {
    section: Section::Choosing,
    path: "/",
    close: true,
    ..PLAIN
};

/// What loads that look into a list have in common.
const LISTED: Load = Load {
    section: Section::Lists,
    ..PLAIN
};

/// The path that the proxy answers itself (`monitor-uri`), so that a handshake is nearly all the
/// work there is.
pub const ALIVE: &str = "/alive";

/// All loads, in the order of the page.
pub const LOADS: &[Load] = &[
    Load {
        key: "keep64",
        name: "64 keep-alive connections, 1 KiB",
        ..PLAIN
    },
    Load {
        key: "keep512",
        name: "512 keep-alive connections, 1 KiB",
        connections: 512,
        ..PLAIN
    },
    Load {
        key: "close",
        name: "new connection per request, 1 KiB",
        close: true,
        ..PLAIN
    },
    Load {
        key: "64k",
        name: "64 KiB bodies",
        path: "/64k",
        ..PLAIN
    },
    Load {
        key: "1m",
        name: "1 MiB bodies",
        path: "/1m",
        connections: 16,
        ..PLAIN
    },
    Load {
        key: "rules",
        name: "10 ACLs, 3 header edits, httplog to UDP",
        rules: true,
        ..PLAIN
    },
    Load {
        key: "list-none",
        name: "no list",
        ..LISTED
    },
    Load {
        key: "list-src",
        name: "an ACL of 100,000 networks (`src -f`)",
        list: Some(List {
            rule: "http-request deny if { src -f LIST }",
            line: |n| format!("10.{}.{}.{}/31", n >> 15, (n >> 7) & 255, (n & 127) << 1),
        }),
        ..LISTED
    },
    Load {
        key: "list-path",
        name: "an ACL of 100,000 strings (`path -f`)",
        list: Some(List {
            rule: "http-request deny if { path -f LIST }",
            line: |n| format!("/articles/{n}/index.html"),
        }),
        ..LISTED
    },
    Load {
        key: "list-beg",
        name: "an ACL of 100,000 beginnings (`path_beg -f`)",
        list: Some(List {
            rule: "http-request deny if { path_beg -f LIST }",
            line: |n| format!("/articles/{n}/"),
        }),
        ..LISTED
    },
    Load {
        key: "list-map",
        name: "a map of 100,000 strings (`map_str`)",
        list: Some(List {
            rule: "http-request set-header X-Tenant %[path,map_str(LIST,none)]",
            line: |n| format!("/articles/{n}/index.html tenant{n}"),
        }),
        ..LISTED
    },
    Load {
        key: "busy512",
        name: "512 busy connections",
        section: Section::Memory,
        connections: 512,
        ..PLAIN
    },
    Load {
        key: "idle10k",
        name: "10,000 idle connections",
        // More than the system may allow: see `affordable_idle`.
        section: Section::Memory,
        connections: 1,
        idle: 10_000,
        ..PLAIN
    },
    Load {
        key: "tcp-idle10k",
        name: "10,000 idle connections in TCP mode",
        section: Section::Memory,
        connections: 1,
        idle: 10_000,
        tcp: true,
        ..PLAIN
    },
    Load {
        key: "workers",
        name: "128 keep-alive connections, 1 KiB",
        section: Section::Workers,
        connections: 128,
        ..PLAIN
    },
    Load {
        key: "handshake-p256",
        name: "full handshakes, ECDSA P-256",
        section: Section::Tls,
        path: ALIVE,
        close: true,
        tls: Some(Key::P256),
        ..PLAIN
    },
    Load {
        key: "handshake-rsa",
        name: "full handshakes, RSA 2048",
        section: Section::Tls,
        path: ALIVE,
        close: true,
        tls: Some(Key::Rsa2048),
        ..PLAIN
    },
    Load {
        key: "tls-keep64",
        name: "64 kept TLS connections, 1 KiB",
        section: Section::Tls,
        tls: Some(Key::P256),
        ..PLAIN
    },
    Load {
        key: "tls-64k",
        name: "64 kept TLS connections, 64 KiB",
        section: Section::Tls,
        path: "/64k",
        tls: Some(Key::P256),
        ..PLAIN
    },
    Load {
        key: "choose-1",
        name: "one server",
        servers: 1,
        ..CHOOSING
    },
    Load {
        key: "choose-1k",
        name: "1,000 servers, leastconn",
        servers: 1_000,
        ..CHOOSING
    },
    Load {
        key: "choose-10k",
        name: "10,000 servers, leastconn",
        servers: 10_000,
        ..CHOOSING
    },
    Load {
        key: "tcp",
        name: "1 GiB over 4 connections",
        section: Section::Tcp,
        connections: 4,
        path: "",
        tcp: true,
        ..PLAIN
    },
    Load {
        key: "tcp-close",
        name: "1,000 new connections, 1 KiB each",
        section: Section::Tcp,
        close: true,
        tcp: true,
        ..PLAIN
    },
    Load {
        key: "tcp-keep",
        name: "1,000 exchanges of 1 KiB on 64 kept connections",
        section: Section::Tcp,
        tcp: true,
        ..PLAIN
    },
    Load {
        key: "udp",
        name: "64 clients, 64 bytes there and back",
        section: Section::Udp,
        path: "",
        ..PLAIN
    },
    Load {
        key: "udp-close",
        name: "a new client for each 64 bytes",
        section: Section::Udp,
        path: "",
        close: true,
        ..PLAIN
    },
];

impl Load {
    /// Whether the command line means it: by its name or its section's.
    pub fn is_meant(&self, only: &[String]) -> bool {
        only.is_empty()
            || only
                .iter()
                .any(|o| o == self.key || o == self.section.name())
    }

    /// Whether it only moves bytes, with the load generator at both ends.
    pub fn is_transfer(&self) -> bool {
        self.section == Section::Tcp && self.path.is_empty()
    }

    /// Whether it is of datagrams, with the load generator at both ends.
    pub fn is_datagrams(&self) -> bool {
        self.section == Section::Udp
    }

    /// Its idle connections, as far as descriptors go: a proxy wants two for each, and the hard
    /// limit can only be raised by who may.
    pub fn affordable_idle(&self) -> u32 {
        // SAFETY: the structure outlives the call.
        let hard = unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            limit.rlim_max
        };
        affordable(self.idle, hard)
    }

    /// Its name, with what could not be afforded of it.
    pub fn title(&self) -> String {
        let idle = self.affordable_idle();
        if idle == self.idle {
            return self.name.to_string();
        }
        format!("{}: {idle}, for want of descriptors", self.name)
    }

    /// The length that the body must have, where it is ours.
    pub fn length(&self) -> Option<u32> {
        match self.path {
            "/1k" => Some(1024),
            "/64k" => Some(65536),
            "/1m" => Some(1 << 20),
            _ => None,
        }
    }
}

fn affordable(idle: u32, descriptors: u64) -> u32 {
    let room = descriptors.saturating_sub(400) / 2;
    idle.min(u32::try_from(room).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_as_many_as_there_are_descriptors_for() {
        assert_eq!(affordable(10_000, 1 << 20), 10_000);
        assert_eq!(affordable(10_000, 20_000), 9_800);
        assert_eq!(affordable(0, 100), 0);
    }

    #[test]
    fn names_are_not_doubled_and_find_their_load() {
        let mut keys: Vec<&str> = LOADS.iter().map(|l| l.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), LOADS.len());
        let meant = |only: &str| {
            let only = [only.to_string()];
            LOADS.iter().filter(|l| l.is_meant(&only)).count()
        };
        assert_eq!(
            (meant("close"), meant("memory"), meant("nothing")),
            (1, 3, 0)
        );
    }
}
