//! bundler

pub mod config;
