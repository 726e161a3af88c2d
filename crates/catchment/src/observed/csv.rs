//! The two CSV files: paths, and where networks land.

use anycast_bgp::Asn;

use super::{Landing, ObservedError, SeenPath};

/// A path of more ASes than this is no path that a network would take (an UPDATE of 4096 octets
/// holds about a thousand).
const MAX_PATH: usize = 1_020;

/// Reads paths: `collector,monitor,path` a line, the path's ASes parted by spaces; or the same
/// parted by tabs, where commas may part the ASes. The first line may be a header. Empty lines
/// and those that begin with `#` are passed over, and an AS_SET (`{64510,64511}`), which stands
/// at the end of a path, is left out.
///
/// # Errors
/// The first line that cannot be used.
pub fn parse_paths(text: &[u8]) -> Result<Vec<SeenPath>, ObservedError> {
    let mut paths = Vec::new();
    for (line, text) in lines(text)? {
        let fields: Vec<&str> = if text.contains('\t') {
            text.splitn(3, '\t').collect()
        } else {
            text.splitn(3, ',').collect()
        };
        let [_, monitor, path] = fields[..] else {
            return wrong(line, "expected collector,monitor,path".to_owned());
        };
        if paths.is_empty() && monitor.trim() == "monitor" {
            continue;
        }
        let monitor = asn(line, monitor.trim())?;
        let path = path.split('{').next().unwrap_or_default().trim().trim_matches('"');
        let ases: Vec<Asn> = path
            .split([' ', ','])
            .filter(|word| !word.is_empty())
            .map(|word| asn(line, word))
            .collect::<Result<_, _>>()?;
        if ases.is_empty() {
            return wrong(line, "the path is empty".to_owned());
        }
        if ases.len() > MAX_PATH {
            return wrong(line, format!("a path of {} ASes; at most {MAX_PATH}", ases.len()));
        }
        paths.push(SeenPath { monitor, path: ases });
    }
    Ok(paths)
}

/// Reads where networks land. The header names the columns: `asn` and `site` must be there,
/// `prefix` and `weight` may; others are passed over. An AS or prefix may have several lines.
///
/// # Errors
/// The first line that cannot be used.
pub fn parse_landings(text: &[u8]) -> Result<Vec<Landing>, ObservedError> {
    let mut lines = lines(text)?.into_iter();
    let Some((line, header)) = lines.next() else {
        return wrong(1, "the file is empty: expected a header with asn and site".to_owned());
    };
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let place = |name: &str| names.iter().position(|it| it.eq_ignore_ascii_case(name));
    let (Some(asn_at), Some(site_at)) = (place("asn"), place("site")) else {
        return wrong(line, "expected a header with the columns asn and site".to_owned());
    };
    let (weight_at, prefix_at) = (place("weight"), place("prefix"));
    let mut landings = Vec::new();
    for (line, text) in lines {
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        if fields.len() != names.len() {
            return wrong(line, format!("{} fields instead of {}", fields.len(), names.len()));
        }
        if let Some(at) = prefix_at
            && fields[at].parse::<ipnet::IpNet>().is_err()
        {
            return wrong(line, format!("`{}` is not a prefix", shown(fields[at])));
        }
        if fields[site_at].is_empty() {
            return wrong(line, "the site is empty; leave the line out".to_owned());
        }
        let weight = match weight_at.map(|at| (fields[at], fields[at].parse::<f64>())) {
            None => 1.0,
            Some((_, Ok(weight))) if weight.is_finite() && weight >= 0.0 => weight,
            Some((text, _)) => {
                return wrong(line, format!("`{}` is not a weight (0 or more)", shown(text)));
            }
        };
        let site = fields[site_at].to_owned();
        landings.push(Landing { asn: asn(line, fields[asn_at])?, site, weight });
    }
    if landings.is_empty() {
        return wrong(line, "nothing follows the header: no network was measured".to_owned());
    }
    Ok(landings)
}

/// Lines that say something, with their numbers.
fn lines(text: &[u8]) -> Result<Vec<(usize, &str)>, ObservedError> {
    let mut all = Vec::new();
    for (at, line) in text.split(|octet| *octet == b'\n').enumerate() {
        let Ok(line) = std::str::from_utf8(line) else {
            return wrong(at + 1, "it is not UTF-8 text; decompress the file".to_owned());
        };
        let line = line.trim_end_matches('\r');
        if !line.trim().is_empty() && !line.starts_with('#') {
            all.push((at + 1, line));
        }
    }
    Ok(all)
}

/// Digits, or `AS` and digits; 0 and the last number name no AS (RFC 7607, RFC 7300).
fn asn(line: usize, text: &str) -> Result<Asn, ObservedError> {
    let digits = text.strip_prefix("AS").unwrap_or(text);
    match digits.parse::<u32>() {
        Ok(number) if !matches!(number, 0 | u32::MAX) && !digits.starts_with('+') => {
            Ok(Asn(number))
        }
        _ => wrong(line, format!("`{}` is not an AS number", shown(text))),
    }
}

fn wrong<T>(line: usize, what: String) -> Result<T, ObservedError> {
    Err(ObservedError::Line { line, what })
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
