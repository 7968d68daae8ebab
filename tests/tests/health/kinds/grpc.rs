//! gRPC's health service.

use anyhow::Result;
use xlb_tests::{Lab, preflight};

use crate::{
    grpc::Grpc,
    stage::{check, comes_and_goes, service, wait_for},
};

const PORT: u16 = 50_051;
const CART: &str = "shop.v1.Cart";

#[test]
fn grpc_asks_for_the_service_that_it_is_told() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let of = |name: &str, port: &str, fields: &str| {
        let check = check(&format!("type = \"grpc\"\nport = {PORT}\n{fields}"));
        service(&lab, name, port, &check, &b1.as_backend())
    };
    let services = of("server", "1/tcp", "") + &of("cart", "2/tcp", &format!("grpc_service = \"{CART}\""));
    let agent = lab.agent(&services).start()?;
    let start = || Grpc::start(b1, PORT, CART);
    comes_and_goes(
        &agent,
        "cart/b1",
        start,
        ("SERVING", "connect: connection refused"),
    )?;
    let grpc = start()?;
    wait_for(&agent, "cart/b1", "up", "SERVING")?;
    wait_for(&agent, "server/b1", "up", "SERVING")?;
    grpc.set(CART, false);
    wait_for(&agent, "cart/b1", "down", "status NOT_SERVING instead of SERVING")?;
    // The server as a whole is another matter.
    wait_for(&agent, "server/b1", "up", "SERVING")?;
    grpc.set(CART, true);
    wait_for(&agent, "cart/b1", "up", "SERVING").map(drop)
}
