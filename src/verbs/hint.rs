//! "Did you mean": the name that whoever mistyped one most likely meant.

/// The one of `known` that is nearest to `given`, where one is near enough to be meant.
pub fn near<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Of a short name a few letters are half of it.
    let most = (given.chars().count() / 3).clamp(1, 3);
    let distances = known.into_iter().filter(|name| *name != given).map(|name| (distance(given, name), name));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

/// The same as the end of a message; empty where nothing is near.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    near(given, known).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// How many letters must be put in, taken out, replaced or swapped with the next to make one of the other, whatever their case.
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|text| text.to_lowercase().chars().take(64).collect::<Vec<char>>());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(x != y);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && *x == b[j - 1] {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_meant_and_what_is_not_is_not() {
        let known = ["property", "key", "version", "secretStoreRef"];
        for (given, meant) in [
            ("propery", Some("property")),
            ("porperty", Some("property")),
            ("kye", Some("key")),
            ("KEY", Some("key")),
            ("secretStoreref", Some("secretStoreRef")),
            ("path", None),
            ("key", None),
            ("", None),
        ] {
            assert_eq!(near(given, known), meant, "{given}");
        }
        assert_eq!(did_you_mean("versoin", known), "; did you mean version?");
        assert_eq!(did_you_mean("x", known), "");
    }
}
