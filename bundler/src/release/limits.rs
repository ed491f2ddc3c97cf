//! What an update graph may cost to read, and what a search in it may ask for.

/// Bytes of one channel's graph. The largest real ones, with each risk's text repeated, are below 2 MiB.
pub const GRAPH_MAX: u64 = 16 * 1024 * 1024;

/// Releases of one channel. The largest real ones have about 500.
pub const NODES_MAX: usize = 10_000;

/// Edges of one channel, conditional ones among them. The largest real ones have about 20,000; a graph in which every
/// release may follow every lower one stays below this for 770 of them.
pub const EDGES_MAX: usize = 300_000;

/// Risks of one channel. Real ones have below 100.
pub const RISKS_MAX: usize = 10_000;

/// Channels that are asked for one after the other on the way between two minor releases. Each is a request.
pub const LEGS_MAX: usize = 32;

/// Graphs fetched at the same time: a public service serves everybody.
pub const GRAPHS_AT_ONCE: usize = 4;

/// Characters of foreign text in a message.
pub const QUOTE_MAX: usize = 120;

/// Characters of what a risk says of itself. Real ones have below 1000.
pub const MESSAGE_MAX: usize = 2000;

/// Versions that an error names as the nearest ones, on each side.
pub const NEAREST: usize = 3;
