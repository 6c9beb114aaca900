//! `posthouse publish`.

use std::path::PathBuf;

use clap::Args;

/// `posthouse publish`.
#[derive(Debug, Args)]
#[command(
    long_about = "Publish one message per line, and print at the end how many of the first lines are durable.\n\n\
        The last line on stdout is {\"stored\": N}: the first N lines are on disk, whatever happened to the others. A \
        line that cannot be published ends the command: no line after it is published.",
    after_help = "Examples:\n  \
        posthouse publish identity-cards/applications --file applications.txt\n  \
        posthouse publish identity-cards/applications --attribute kind=renewal < applications.txt\n  \
        posthouse publish identity-cards/applications --ndjson --file applications.ndjson\n\n\
        A line with --ndjson:\n  \
        {\"payload\": \"text\", \"attributes\": {\"kind\": \"renewal\"}}\n  \
        {\"payload_base64\": \"/wA=\"}\n\
        A line has payload or payload_base64 (standard alphabet, padded), and may have attributes. The keys id, \
        sequence, publish_time, attempt and dead_letter, as `consume --ndjson` writes them, are ignored; any other key \
        is an error."
)]
pub struct Publish {
    /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
    pub queue: String,
    /// The file of the lines; - is stdin.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Each line is a JSON object, as `consume --ndjson` writes it.
    #[arg(long)]
    pub ndjson: bool,
    /// An attribute for every message that does not have the key; may be given several times.
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = key_value)]
    pub attributes: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an attribute is KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_may_hold_an_equals_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(key_value("a="), Ok(("a".to_owned(), String::new())));
        assert!(key_value("=b").is_err());
        assert!(key_value("b").is_err());
    }
}
