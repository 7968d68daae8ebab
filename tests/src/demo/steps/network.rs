//! The lab, and xlb in it.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use crate::Lab;
use crate::demo::screen::{Screen, ms};
use crate::demo::stage::Stage;
use crate::demo::status;

pub(in crate::demo) fn network(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    let (lab, vip) = (&stage.lab, stage.vip());
    screen.text(&format!(
        "Every machine here is a network namespace, and the cables are veth pairs. The client knows {}, a \
         virtual address (VIP) that no machine has: packets to it are routed to the balancer.",
        vip.ip()
    ))?;
    screen.quote(&diagram(lab))?;
    screen.text("nginx runs on each backend, and xlb on the balancer. This is its whole configuration:")?;
    let config = stage.agent.config();
    let config = fs::read_to_string(config).with_context(|| format!("read {}", config.display()))?;
    screen.quote(&config)?;

    let status = stage.agent.status()?;
    let attached = status::attached(&status);
    ensure!(
        attached
            .iter()
            .map(|(name, _)| *name)
            .eq([&lab.front.device, &lab.back.device]),
        "xlb is attached to {attached:?}, not to both interfaces"
    );
    screen.fact(
        "network and servers",
        format_args!("built in {}", ms(stage.built)),
    )?;
    screen.fact(
        "xlb",
        format_args!("started, all backends found alive in {}", ms(stage.started)),
    )?;
    for (interface, mode) in attached {
        screen.fact(
            &format!("XDP program on {interface}"),
            format_args!("{mode} mode: {}", place(mode)),
        )?;
    }
    Ok(())
}

/// Where a packet meets the program.
fn place(mode: &str) -> &'static str {
    match mode {
        "native" => "in the network driver",
        _ => "in the kernel's stack, slower",
    }
}

fn diagram(lab: &Lab) -> String {
    let backends: Vec<String> = lab
        .backends
        .iter()
        .map(|backend| format!("{} {}", backend.name, backend.addr))
        .collect();
    let at = |index: usize| backends.get(index).map_or("", String::as_str);
    let wide = |addr: Ipv4Addr| format!("{addr:<11}");
    let (client, front, back) = (wide(lab.client.addr), wide(lab.front.addr), wide(lab.back.addr));
    let (eth0, eth1) = (&lab.front.device, &lab.back.device);
    let vip = lab.vip().to_string();
    let (b1, b2, b3) = (at(0), at(1), at(2));
    format!(
        "
  client        switch   balancer                   switch   backends
+-------------+         +-------------------------+        +- {b1}
| {client} |-[front]-| {front} {back} |-[back]-+- {b2}
+-------------+         | {eth0:<11} {eth1:<11} |        +- {b3}
                        | xlb, VIP {vip:<14} |
                        +-------------------------+
"
    )
}
