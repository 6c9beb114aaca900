/// Splits `HOST:PORT`, and removes the brackets of an IPv6 address; `None` if it is not valid.
pub(crate) fn split_endpoint(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let valid = !host.is_empty() && (bare.is_some() || !host.contains(':'));
    valid.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::split_endpoint;

    #[test]
    fn endpoints() {
        assert_eq!(split_endpoint("h:1"), Some(("h", 1)));
        assert_eq!(split_endpoint("[::1]:7443"), Some(("::1", 7443)));
        for bad in ["h", "h:", ":1", "h:0", "h:70000", "::1:7443", "https://h:1"] {
            assert_eq!(split_endpoint(bad), None, "{bad}");
        }
    }
}
