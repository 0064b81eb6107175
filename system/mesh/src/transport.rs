//! The endpoint: QUIC between devices, each end proven by its key.
//!
//! iroh does this. What it could do beside, asking servers elsewhere, is not configured: no DNS, no
//! other way to look an address up than what [discovery](crate::discovery) has heard, and no relay but
//! the one that the owner has set ([`afar`](crate::afar)), and nothing is asked of that one but to relay.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use iroh::address_lookup::MemoryLookup;
use iroh::dns::DnsResolver;
use iroh::endpoint::{Connection, PortmapperConfig, QuicTransportConfig, VarInt, presets};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, NetReportConfig, RelayConfig, RelayMap, RelayMode,
    RelayUrl, SecretKey, TransportAddr,
};
use trust::identity::{DeviceId, Identity};

use crate::wire;

/// Streams that a device may have open at once at another one.
const MAX_STREAMS: u32 = 64;
/// Bytes of one stream that are taken before its reader has read them.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same of one connection.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// Why a connection is closed, as its other end is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Closing {
    /// It is not needed any more.
    Done = 0,
    /// The other end is not of this family.
    Stranger = 1,
    /// This device is not open for that.
    NotOpen = 2,
    /// There is a newer connection.
    Replaced = 3,
    /// The other end does not keep to the protocol or the limits.
    Misbehaved = 4,
    /// Too many want the same at once, or too often.
    TooMuch = 5,
}

/// Closes a connection for a reason.
pub fn close(connection: &Connection, why: Closing) {
    // The words are in the code: what is sent is no place for more.
    connection.close(VarInt::from_u32(why as u32), b"");
}

/// Whether a connection was closed by its other end for this reason.
pub fn was_closed_for(connection: &Connection, why: Closing) -> bool {
    matches!(
        connection.close_reason(),
        Some(iroh::endpoint::ConnectionError::ApplicationClosed(closed))
            if closed.error_code == VarInt::from_u32(why as u32)
    )
}

/// What an endpoint is made with that can change while the device runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// The relay at which devices meet that are apart; none where the owner has set none.
    pub relay: Option<RelayUrl>,
    /// Whether batches of datagrams are sent: only while every network card takes them.
    pub batches: bool,
}

/// Makes the endpoint of a device. `names` resolves the relay's name.
pub async fn bind(
    identity: &Identity,
    lookup: MemoryLookup,
    binding: &Binding,
    names: DnsResolver,
) -> Result<Endpoint> {
    let config = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(CONNECTION_WINDOW.into())
        .initial_rtt(Duration::from_millis(50))
        .enable_segmentation_offload(binding.batches)
        .build();
    let relay_mode = match &binding.relay {
        // Without its QUIC, by which it would tell this device its address.
        Some(relay) => RelayMode::Custom(RelayMap::from(RelayConfig::new(relay.clone(), None))),
        None => RelayMode::Disabled,
    };
    // That the relay answers is asked, for only then is it used; no more than that.
    let mut report = NetReportConfig::minimal();
    report.https_probes = true;
    Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&identity.secret()))
        .relay_mode(relay_mode)
        .net_report_config(report)
        .portmapper_config(PortmapperConfig::Disabled)
        .dns_resolver(names)
        .clear_address_lookup()
        .address_lookup(lookup)
        .transport_config(config)
        .alpns(
            [wire::ALPN, wire::PAIRING_ALPN, wire::RECOVERY_ALPN]
                .map(<[u8]>::to_vec)
                .to_vec(),
        )
        .bind()
        .await
        .context("opening the sockets on which other devices connect")
}

/// The ports of an endpoint by IPv4 and by IPv6.
pub fn ports(endpoint: &Endpoint) -> (Option<u16>, Option<u16>) {
    let port = |six: bool| {
        endpoint
            .bound_sockets()
            .into_iter()
            .find(|address| address.is_ipv6() == six)
            .map(|address| address.port())
    };
    (port(false), port(true))
}

/// A device's address to dial: where it said to be, and the relay where it may be found.
pub fn address(
    device: DeviceId,
    addresses: impl IntoIterator<Item = SocketAddr>,
    relay: Option<RelayUrl>,
) -> Result<EndpointAddr> {
    let id = EndpointId::from_bytes(device.as_bytes()).context("a device's key")?;
    let addresses = addresses.into_iter().map(TransportAddr::Ip);
    let relay = relay.map(TransportAddr::Relay);
    Ok(EndpointAddr::from_parts(id, addresses.chain(relay)))
}

/// A secret of both ends of a connection and of nobody else, for one use.
pub fn exporter(connection: &Connection, label: &[u8]) -> Result<[u8; 32]> {
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, label, b"")
        .map_err(|_| anyhow::anyhow!("the connection exports no key"))?;
    Ok(exporter)
}

/// Which device the other end of a connection has proven to be.
pub fn peer(connection: &Connection) -> Result<DeviceId> {
    DeviceId::from_bytes(connection.remote_id().as_bytes())
        .context("the key that the other device has proven")
}
