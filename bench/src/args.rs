//! `--name value` and `--name`.

use std::str::FromStr;

/// The words of a command line, by name.
pub struct Args {
    values: Vec<(String, String)>,
}

impl Args {
    /// Reads words; those in `valued` are followed by a value, those in `flags` stand alone.
    pub fn parse(words: &[String], valued: &[&str], flags: &[&str]) -> Result<Args, String> {
        let mut values = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if flags.contains(&word.as_str()) {
                values.push((word.clone(), String::new()));
            } else if valued.contains(&word.as_str()) {
                let value = words
                    .next()
                    .ok_or_else(|| format!("'{word}' wants a value after it"))?;
                values.push((word.clone(), value.clone()));
            } else {
                return Err(format!(
                    "'{word}' is unknown; known are {valued:?} {flags:?}"
                ));
            }
        }
        Ok(Args { values })
    }

    /// Whether it was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(n, _)| n == name)
    }

    /// Every value given for a name.
    pub fn all<T: FromStr>(&self, name: &str) -> Result<Vec<T>, String> {
        let given = self.values.iter().filter(|(n, _)| n == name);
        let read = given.map(|(_, value)| {
            let read = value.parse();
            read.map_err(|_| format!("{name}: '{value}' cannot be read; give another value"))
        });
        read.collect()
    }

    /// The last value given for a name.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        Ok(self.all(name)?.pop())
    }

    /// The last value given for a name that must be there.
    pub fn need<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.get(name)?
            .ok_or_else(|| format!("'{name}' is missing; see 'bench' without arguments"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        Args::parse(&words, &["--to", "--watch"], &["--close"])
    }

    #[test]
    fn values_and_flags_are_found_by_name() {
        let args = parse("--to 7 --close --watch 1 --watch 2").expect("reads");
        assert_eq!(args.need::<u32>("--to"), Ok(7));
        assert_eq!(args.all::<u32>("--watch"), Ok(vec![1, 2]));
        assert!(args.has("--close") && !args.has("--other"));
        assert_eq!(args.get::<u32>("--other"), Ok(None));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("--too 7").is_err_and(|e| e.contains("--too")));
        assert!(parse("--to").is_err_and(|e| e.contains("value")));
        let args = parse("--to x").expect("reads");
        assert!(args.need::<u32>("--to").is_err_and(|e| e.contains("'x'")));
    }
}
