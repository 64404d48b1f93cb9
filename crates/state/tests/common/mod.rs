//! Processes with one backend, without a configuration file.

use model::{Address, Config, Proxy, ProxyKind, Server, Timeouts};
use state::Process;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server `sID`.
pub fn server(id: u32, maxconn: u32) -> Server {
    Server {
        xclient: false,
        name: format!("s{id}").into(),
        id,
        address: Address::from_socket(SocketAddr::from(([127, 0, 0, 1], 1000))),
        hostname: None,
        resolution: None,
        weight: 1,
        priority: 1,
        hash_key: model::HashKey::default(),
        backup: false,
        disabled: false,
        maxconn,
        minconn: 0,
        maxqueue: 0,
        cookie: None,
        check: None,
        agent: None,
        track: None,
        tls: None,
        source: None,
        slowstart: None,
        pool_max_conn: None,
        pool_purge_delay: Duration::ZERO,
        max_reuse: None,
        send_proxy: None,
        proxy_extensions: None,
        observe: None,
        error_limit: 10,
        on_error: model::OnError::default(),
        on_marked_down: None,
        shutdown_backup_sessions: false,
        guid: None,
        redir: None,
        non_stick: false,
        tls_known: None,
        socks4: None,
        tcp_user_timeout: None,
        tfo: false,
        congestion: None,
        signed: None,
        shard: 0,
        namespace: None,
        vlan: None,
    }
}

/// With these servers.
#[allow(dead_code)] // each test file uses what it needs
pub fn process(servers: Vec<Server>) -> Arc<Process> {
    process_with(model::Backend {
        servers,
        ..model::Backend::default()
    })
}

/// With these settings.
#[allow(dead_code)] // each test file uses what it needs
pub fn process_with(side: model::Backend) -> Arc<Process> {
    process_in(model::Mode::Http, side)
}

/// With these settings, in this mode.
pub fn process_in(mode: model::Mode, side: model::Backend) -> Arc<Process> {
    let proxy = Proxy {
        fingerprint: 0,
        name: "b".into(),
        id: 2,
        kind: ProxyKind::Backend,
        origin: "".into(),
        mode,
        disabled: false,
        description: None,
        guid: None,
        timeouts: Timeouts::default(),
        logs: Vec::new(),
        log_tag: None,
        errors: Arc::default(),
        http: model::HttpOptions::default(),
        stats: None,
        http_request: Vec::new(),
        http_response: Vec::new(),
        http_after_response: Vec::new(),
        tcp_request_content: Vec::new(),
        tcp_response_content: Vec::new(),
        independent_streams: false,
        guard: model::Guard::default(),
        inspect_delay: None,
        response_inspect_delay: None,
        frontend: None,
        backend: Some(Box::new(side)),
    };
    let config = Config {
        proxies: vec![Arc::new(proxy)],
        ..Config::default()
    };
    let wall = rules::Wall::default();
    Process::new(
        Arc::new(config),
        2,
        1000,
        1000,
        wall,
        Instant::now(),
        state::Machine::default(),
    )
}
