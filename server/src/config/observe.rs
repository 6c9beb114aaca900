//! What operators see: `[management]`, `[metrics]`, `[log]`, `[access]` and `[telemetry]`. All may be absent.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use http::Uri;
use tracing_subscriber::EnvFilter;

use super::section::{Located, Section};
use crate::limits::{DEFAULT_MANAGEMENT_PORT, MAX_CLAIM_TEXT_BYTES};

/// What operators see, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct ObserveConfig {
    /// `management.listen`: where probes and metrics are answered, over plain HTTP; `None`: nowhere.
    pub management: Option<SocketAddr>,
    /// `metrics.tenants`: whether metrics have series for each configured tenant, under its name.
    pub tenant_metrics: bool,
    /// `[log]`.
    pub log: LogConfig,
    /// `[access]`.
    pub access: AccessConfig,
    /// `[telemetry]`.
    pub telemetry: Option<TelemetryConfig>,
}

/// The program's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// `log.format`.
    pub format: LogFormat,
    /// `log.level`: a level, or a filter as in `$POSTHOUSE_LOG`, which has precedence. `None`: `info`.
    pub level: Option<String>,
}

/// How a record of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

/// Records of who did what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// `access.records`.
    pub records: RecordedAccess,
    /// `access.file`.
    pub sink: AccessSink,
}

/// Which accesses are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordedAccess {
    /// None.
    Off,
    /// Refusals, and changes of queues.
    Changes,
    /// These, and every batch published, delivered and settled.
    All,
}

/// The sink of the records of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessSink {
    /// Into the log, whatever its level: as `INFO`, with the target `posthouse::access`.
    Log,
    /// To standard output, one JSON object on each line.
    Stdout,
    /// To standard error among the lines of the log, one JSON object on each line.
    Stderr,
    /// To a file, one JSON object on each line.
    File(PathBuf),
}

/// Export of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// `telemetry.otlp_endpoint`: a collector's OTLP port for gRPC.
    pub otlp_endpoint: String,
    /// `telemetry.service_name`.
    pub service_name: String,
    /// `telemetry.sample_ratio`: which part of the traces that callers sample is exported.
    pub sample_ratio: f64,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        Self {
            management: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_MANAGEMENT_PORT))),
            tenant_metrics: false,
            log: LogConfig::default(),
            access: AccessConfig { records: RecordedAccess::Changes, sink: AccessSink::Log },
            telemetry: None,
        }
    }
}

impl ObserveConfig {
    pub(super) fn read(document: &Section<'_>, folder: &Path) -> Self {
        let mut config = Self::default();
        if let Some(section) = document.optional_section("management") {
            if let Some(management) =
                section.text("listen").and_then(|field| field.parse(|text| address(text)))
            {
                config.management = management;
            }
            section.report_unknown();
        }
        if let Some(section) = document.optional_section("metrics") {
            config.tenant_metrics = section.optional_flag("tenants").unwrap_or(false);
            section.report_unknown();
        }
        if let Some(section) = document.optional_section("log") {
            config.log = log(&section);
        }
        if let Some(section) = document.optional_section("access") {
            config.access = access(&section, folder);
        }
        config.telemetry = document.optional_section("telemetry").and_then(|section| telemetry(&section));
        config
    }
}

fn address(text: &str) -> Result<Option<SocketAddr>, &'static str> {
    if text == "off" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| "must be an address and a port, for example 127.0.0.1:9464, or \"off\"")
}

fn log(section: &Section<'_>) -> LogConfig {
    let format = section.optional_text("format").and_then(|field| {
        field.parse(|text| match *text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be \"text\" or \"json\""),
        })
    });
    let level = section.optional_text("level").and_then(|field| {
        field.parse(|text| {
            let parsed = EnvFilter::try_new(text).map(|_| (*text).to_owned());
            parsed
                .map_err(|_| "must be error, warn, info, debug or trace, or a filter such as info,hyper=warn")
        })
    });
    section.report_unknown();
    LogConfig { format: format.unwrap_or_default(), level }
}

fn access(section: &Section<'_>, folder: &Path) -> AccessConfig {
    let records = section.optional_text("records").and_then(|field| {
        field.parse(|text| match *text {
            "all" => Ok(RecordedAccess::All),
            "changes" => Ok(RecordedAccess::Changes),
            "off" => Ok(RecordedAccess::Off),
            _ => Err("must be \"all\", \"changes\" or \"off\""),
        })
    });
    let file = section.optional_text("file");
    let sink = file.as_ref().map_or(AccessSink::Log, |file| sink(file.value, folder));
    section.report_unknown();
    let usual = if sink == AccessSink::Log { RecordedAccess::Changes } else { RecordedAccess::All };
    let records = records.unwrap_or(usual);
    if let (Some(file), AccessSink::File(path)) = (file, &sink)
        && records != RecordedAccess::Off
    {
        // A mistake is reported.
        let _: Option<()> = file.parse(|_| can_be_opened(path));
    }
    AccessConfig { records, sink }
}

/// The names of standard streams are not opened as files: what is a socket cannot be.
fn sink(file: &str, folder: &Path) -> AccessSink {
    match file {
        "-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => AccessSink::Stdout,
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => AccessSink::Stderr,
        file => AccessSink::File(folder.join(file)),
    }
}

/// As far as can be said without making it.
fn can_be_opened(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => Err(format!("{shown} is a folder: name a file in it")),
        Ok(about) if about.file_type().is_socket() => {
            Err(format!("{shown} is a socket: name a file or a pipe, or - for standard output"))
        }
        Ok(_) => Ok(()),
        Err(_) => {
            let folder = path.parent().unwrap_or(path);
            match fs::metadata(folder) {
                Ok(about) if about.is_dir() => Ok(()),
                Ok(_) => Err(format!("{} is no folder, so {shown} cannot be made", folder.display())),
                Err(error) => {
                    Err(format!("{shown} cannot be made: {}: {error}: make the folder", folder.display()))
                }
            }
        }
    }
}

fn telemetry(section: &Section<'_>) -> Option<TelemetryConfig> {
    let endpoint = section.text("otlp_endpoint").and_then(|field| field.parse(|text| collector(text)));
    let service_name = section.optional_text("service_name").and_then(|field: Located<'_, &str>| {
        field.parse(|text| {
            let short = text.len() <= MAX_CLAIM_TEXT_BYTES && !text.chars().any(char::is_control);
            short.then(|| (*text).to_owned()).ok_or("must be short and without control characters")
        })
    });
    let sample_ratio = section.optional_ratio("sample_ratio").unwrap_or(1.0);
    section.report_unknown();
    let service_name = service_name.unwrap_or_else(|| "posthouse".to_owned());
    Some(TelemetryConfig { otlp_endpoint: endpoint?, service_name, sample_ratio })
}

fn collector(text: &str) -> Result<String, &'static str> {
    let wrong = "must be a collector's address such as http://127.0.0.1:4317; run one on this machine: it is plain \
                 HTTP/2, and the collector can speak TLS onwards";
    let uri: Uri = text.parse().map_err(|_| wrong)?;
    let plain = uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    let bare = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
    if plain && bare { Ok(text.to_owned()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests;
