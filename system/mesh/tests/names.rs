//! The name of a relay is asked of this device's own service for names.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bus::{Caller, Server};

const PATIENCE: Duration = Duration::from_secs(120);

struct Names;

impl bus::names::Handler for Names {
    async fn resolve(&self, _: Caller, name: String) -> Result<Vec<String>, String> {
        assert_eq!(name, "relay.example");
        Ok(vec!["2001:db8::7".into(), "192.0.2.7".into()])
    }
}

#[test]
fn a_name_is_asked_of_the_device_by_both_kinds_of_address() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut server = Server::bind(folder.path(), &[bus::names::ID]).unwrap();
        server.serve(bus::names::interface(Names));
        let serving = tokio::spawn(server.run());
        let resolver = mesh::names::resolver(folder.path().to_owned());
        let found = resolver.lookup_ipv4("relay.example", PATIENCE).await;
        let found: Vec<IpAddr> = found.unwrap().collect();
        assert_eq!(found, [IpAddr::from(Ipv4Addr::new(192, 0, 2, 7))]);
        let found = resolver.lookup_ipv6("relay.example", PATIENCE).await;
        let found: Vec<IpAddr> = found.unwrap().collect();
        assert_eq!(found, ["2001:db8::7".parse::<IpAddr>().unwrap()]);
        serving.abort();
    });
}
