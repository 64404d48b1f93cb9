//! `bind` lines.

use crate::Address;
use std::sync::Arc;
use std::time::Duration;

/// One address of a `bind` line (a line of three addresses makes three of these).
#[derive(Clone, Debug, PartialEq)]
pub struct Bind {
    /// Where to listen. A port range has been expanded: one [`Bind`] per port.
    pub address: Address,
    /// How many bits of the address count, where it stands for all that begin alike.
    pub prefix: Option<u8>,
    /// The words after the address, shared by all addresses of the line.
    pub options: Arc<BindOptions>,
    /// Where the line stands, `file:line`, for messages at start-up and in `show stat`.
    pub origin: Arc<str>,
    /// The listener's number (`so_id`), unique in its proxy.
    pub id: u32,
}

/// The words after the address of a `bind` line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindOptions {
    /// `name`: shown in the statistics.
    pub name: Option<Arc<str>>,
    /// `maxconn` of the listener.
    pub maxconn: Option<u32>,
    /// `backlog`.
    pub backlog: Option<u32>,
    /// `ssl` and all that goes with it.
    pub tls: Option<Arc<tls::Acceptor>>,
    /// `starttls`: that TLS is spoken once a client asks for it, not at once.
    pub starttls: bool,
    /// `interface`: only connections that arrive on this network interface.
    pub interface: Option<Arc<str>>,
    /// `v4v6`: `::` accepts IPv4 too.
    pub v4v6: bool,
    /// `v6only`.
    pub v6only: bool,
    /// `transparent`.
    pub transparent: bool,
    /// The address is one of a `vrrp` section: it is listened on while another machine has it.
    pub moves: bool,
    /// `accept-proxy`.
    pub accept_proxy: bool,
    /// `accept-netscaler-cip`: the number that headers of a NetScaler's begin with.
    pub netscaler: Option<u32>,
    /// `defer-accept`.
    pub defer_accept: bool,
    /// `tfo`.
    pub tfo: bool,
    /// `mss`; negative values are relative to the advertised one.
    pub mss: Option<i32>,
    /// `cc`: the congestion control of TCP, by the system's name.
    pub congestion: Option<Arc<str>>,
    /// `tcp-md5sig`: the word that segments are signed with (RFC 2385), 80 bytes at most.
    pub signed: Option<Arc<str>>,
    /// `namespace`: the network namespace to listen in.
    pub namespace: Option<Arc<str>>,
    /// `tcp-ss`: the packet that begins a connection is saved, from IP on (1) or from the frame on (2).
    pub save_syn: u8,
    /// `tcp-ut`.
    pub tcp_user_timeout: Option<Duration>,
    /// `mode` of a UNIX socket.
    pub mode: Option<u32>,
    /// `uid`, or `user` looked up.
    pub uid: Option<u32>,
    /// `gid`, or `group` looked up.
    pub gid: Option<u32>,
    /// `nice`.
    pub nice: i32,
    /// `proto`: `h1`, `h2` or `none`.
    pub proto: Option<Arc<str>>,
    /// `proto tcp|udp|any`, in packet mode.
    pub transport: Option<crate::Transport>,
    /// `vlan N`, in packet mode: the VLAN that the address is in.
    pub vlan: Option<u16>,
    /// `process`/`thread`/`shards` words, kept as written: any worker may accept.
    pub thread: Option<Arc<str>>,
}
