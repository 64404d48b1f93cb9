//! Who asks for segments that are signed (`tcp-md5sig`), which not every kernel can do.

use crate::run::written;
use model::Config;
use std::sync::Arc;

/// Who asks for signed segments: a `bind` line by its place, a server or a peer by its name, or a
/// control socket by its address.
pub fn wanted(config: &Config) -> Option<String> {
    let fronts = config.proxies.iter().filter_map(|p| p.frontend.as_ref());
    let binds = fronts.flat_map(|f| &f.binds);
    let mut binds = binds.chain(config.peers.iter().flat_map(|p| &p.binds));
    let bind = binds.find(|b| b.options.signed.is_some());
    let server = |proxy: &Arc<model::Proxy>| {
        let mut servers = proxy.backend.as_ref()?.servers.iter();
        let server = servers.find(|s| s.signed.is_some())?;
        Some(format!("server '{}/{}'", proxy.name, server.name))
    };
    let peer = |section: &Arc<model::Peers>| {
        let mut peers = section.others.iter().chain(&section.successor);
        let peer = peers.find(|p| p.signed.is_some())?;
        Some(format!("peer '{}/{}'", section.name, peer.name))
    };
    let control = || {
        let mut sockets = config.global.stats_sockets.iter();
        let socket = sockets.find(|s| s.options.signed.is_some())?;
        Some(format!("'stats socket {}'", written(&socket.address)))
    };
    let bind = bind.map(|b| format!("the 'bind' at {}", b.origin));
    bind.or_else(|| config.proxies.iter().find_map(server))
        .or_else(|| config.peers.iter().find_map(peer))
        .or_else(control)
}
