//! What charts may cost to read. They are parsed before anybody vouched for them. None of these is ever reached by an honest one.

use std::time::Duration;

/// Bytes of the `index.yaml` of a repository: that of the largest public ones has some 20 MB.
pub const INDEX_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of a chart's archive. Helm itself reads none whose content is larger than 100 MiB.
pub const CHART_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of what an archive unpacks to, those of sub-charts included.
pub const UNPACKED_MAX: u64 = 100 * 1024 * 1024;

/// Bytes of one document of a chart, as `values.yaml`: Helm's own limit.
pub const FILE_MAX: u64 = 5 * 1024 * 1024;

/// Files of a chart, those of sub-charts included.
pub const FILES_MAX: usize = 20_000;

/// Sub-charts of sub-charts.
pub const DEPTH_MAX: usize = 16;

/// Bytes of a signature file that lies beside a chart.
pub const PROVENANCE_MAX: u64 = 1024 * 1024;

/// Bytes of what a chart renders to.
pub const RENDERED_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of what `helm` may say of a fault.
pub const SAID_MAX: u64 = 64 * 1024;

/// How long one chart may render: large ones take some seconds.
pub const RENDER_TIME: Duration = Duration::from_secs(120);

/// Memory that rendering may take: charts may loop.
pub const RENDER_MEMORY: u64 = 4 * 1024 * 1024 * 1024;

/// Images of one chart. Real ones have below a hundred.
pub const IMAGES_MAX: usize = 5_000;

/// Values of one chart that are told as no images.
pub const SKIPPED_MAX: usize = 200;

/// Charts read and rendered at a time: each has its archive in memory.
pub const AT_ONCE: usize = 4;

/// Charts of one configuration, all versions together. The largest public repositories have some ten thousand.
pub const CHARTS_MAX: usize = 50_000;
