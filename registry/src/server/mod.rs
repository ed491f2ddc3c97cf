//! The mirror registry.
