//! `mirror.platform`: which releases are carried, and why; what each consists of and who signed it.
//!
//! 1. `service` asks the update service for the graphs of channels; `graph` reads them.
//! 2. `choose` takes the versions that one entry asks for, `path` finds ways through one graph, `hops` the way
//!    over several channels.
//!
//! In: the stanza of the configuration. Out: payloads by digest, each with the reason why it is in, and for each
//! channel why a version is not. What must hold: only `service` asks the network; everything that decides works on
//! bytes alone; a channel that fails stops no other one.
