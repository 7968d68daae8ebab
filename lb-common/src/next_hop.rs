//! Where a frame leaves, as the agent resolved it from routes and neighbours.

use crate::map_struct;

map_struct! {
    /// The interface a frame leaves by and the Ethernet addresses it leaves with.
    pub struct NextHop {
        /// Interface index; 0 where there is none.
        pub ifindex: u32,
        /// The neighbour's address.
        pub destination_mac: [u8; 6],
        /// Our own on that interface.
        pub source_mac: [u8; 6],
    }
}
