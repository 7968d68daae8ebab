//! What the command fixes before the program is verified.

use aya_ebpf::Global;
use lb_common::{decap::Settings, service::GUE_PORT};

/// Until told otherwise, takes nothing from anybody.
#[unsafe(no_mangle)]
static DECAP_SETTINGS: Global<Settings> = Global::new(Settings {
    port: GUE_PORT.to_be(),
    restricted: 1,
    multi_buffer: 0,
    _pad: [0; 4],
});

#[inline(always)]
pub fn options() -> Settings {
    DECAP_SETTINGS.load()
}

/// Whether frames may be longer than one buffer.
#[inline(always)]
pub fn is_multi_buffer() -> bool {
    options().multi_buffer != 0
}
