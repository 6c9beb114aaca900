use toml::de::DeTable;

use super::*;
use crate::config::section::Problems;

fn read(text: &str) -> (ObserveConfig, Vec<String>) {
    let table = DeTable::parse(text).unwrap();
    let problems = Problems::new(text);
    let document = Section::document(table.get_ref(), &problems);
    let config = ObserveConfig::read(&document, &std::env::temp_dir());
    document.report_unknown();
    (config, problems.into_errors().iter().map(ToString::to_string).collect())
}

#[test]
fn absent_is_loopback_text_changes_in_the_log_and_no_spans() {
    let (config, errors) = read("");
    assert_eq!((config, errors), (ObserveConfig::default(), Vec::new()));
}

#[test]
fn everything_can_be_set() {
    let (config, errors) = read(
        "[management]\nlisten = \"[::1]:9000\"\n[metrics]\ntenants = true\n[log]\nformat = \"json\"\n\
         level = \"warn,posthouse_server=debug\"\n[access]\nfile = \"access.jsonl\"\n[telemetry]\n\
         otlp_endpoint = \"http://127.0.0.1:4317\"\nservice_name = \"queue\"\nsample_ratio = 0.25\n",
    );
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(config.management, Some("[::1]:9000".parse().unwrap()));
    assert!(config.tenant_metrics);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level.as_deref(), Some("warn,posthouse_server=debug"));
    let sink = AccessSink::File(std::env::temp_dir().join("access.jsonl"));
    assert_eq!(config.access, AccessConfig { records: RecordedAccess::All, sink });
    let telemetry = config.telemetry.unwrap();
    assert_eq!((telemetry.service_name.as_str(), telemetry.sample_ratio), ("queue", 0.25));
    let (off, errors) = read("[management]\nlisten = \"off\"\n[access]\nrecords = \"off\"\n");
    assert_eq!((off.management, off.access.records, errors.len()), (None, RecordedAccess::Off, 0));
}

#[test]
fn all_mistakes_are_told_with_line_and_key() {
    let (_, errors) = read(
        "[management]\nlisten = \"nine\"\nport = 1\n[metrics]\ntenants = 1\n[log]\nformat = \"xml\"\n\
         level = \"=loud=\"\n[access]\nrecords = \"some\"\n[telemetry]\notlp_endpoint = \"https://x:1/v1\"\n\
         sample_ratio = 2\n",
    );
    for (line, key) in [
        (2, "management.listen: must be an address"),
        (3, "management.port: unknown key"),
        (5, "metrics.tenants: must be true"),
        (7, "log.format: must be"),
        (8, "log.level: must be"),
        (10, "access.records: must be"),
        (12, "telemetry.otlp_endpoint: must be"),
        (13, "telemetry.sample_ratio: must be"),
    ] {
        let start = format!("line {line}: {key}");
        assert!(errors.iter().any(|error| error.starts_with(&start)), "{start:?} is not in {errors:#?}");
    }
    assert_eq!(errors.len(), 8, "{errors:#?}");
}

#[test]
fn records_of_every_batch_may_go_anywhere() {
    let (config, errors) = read("[access]\nrecords = \"all\"\n");
    assert_eq!((config.access.sink, config.access.records), (AccessSink::Log, RecordedAccess::All));
    assert!(errors.is_empty(), "{errors:?}");
    let (config, errors) = read("[access]\nrecords = \"all\"\nfile = \"-\"\n");
    assert_eq!((config.access.sink, errors.len()), (AccessSink::Stdout, 0));
}

#[test]
fn standard_streams_are_known_by_their_names() {
    for (name, sink) in [
        ("/dev/stdout", AccessSink::Stdout),
        ("/proc/self/fd/1", AccessSink::Stdout),
        ("/dev/stderr", AccessSink::Stderr),
        ("/dev/fd/2", AccessSink::Stderr),
    ] {
        let (config, errors) = read(&format!("[access]\nfile = \"{name}\"\n"));
        assert_eq!((config.access.sink, config.access.records), (sink, RecordedAccess::All), "{name}");
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn a_file_of_records_that_cannot_be_made_is_told_unless_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = |path: &Path, more: &str| read(&format!("[access]\nfile = \"{}\"\n{more}", path.display())).1;
    for (path, problem) in [
        (
            folder.path().join("missing/access.jsonl"),
            "missing: No such file or directory (os error 2): make the",
        ),
        (folder.path().to_owned(), "is a folder: name a file in it"),
        (socket.join("access.jsonl"), "socket is no folder, so"),
        (socket, "is a socket: name a file or a pipe"),
    ] {
        let errors = text(&path, "");
        assert!(errors.len() == 1 && errors[0].starts_with("line 2: access.file: "), "{errors:?}");
        assert!(errors[0].contains(problem) && errors[0].contains(path.to_str().unwrap()), "{errors:?}");
        assert!(text(&path, "records = \"off\"\n").is_empty());
    }
    assert!(text(&folder.path().join("new"), "").is_empty() && !folder.path().join("new").exists());
}

#[test]
fn an_endpoint_with_a_password_or_a_path_is_refused() {
    for text in ["http://user:secret@host:4317", "http://host:4317/v1/traces", "host:4317", "http://"] {
        assert!(collector(text).is_err(), "{text}");
    }
}
