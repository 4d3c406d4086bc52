//! Formatted tables: text for a terminal, Markdown, LaTeX.

use std::fmt::Write as _;

use crate::text::{length, one_line, wrap};

/// A column of a [`TextTable`].
#[derive(Clone, Debug, PartialEq)]
pub struct Heading {
    /// Its heading.
    pub name: String,
    /// Its heading if space is short.
    pub short: String,
    /// Aligned to the right.
    pub numeric: bool,
}

impl Heading {
    /// A column of words, aligned to the left.
    pub fn new(name: impl Into<String>) -> Heading {
        let name = name.into();
        Heading { short: name.clone(), name, numeric: false }
    }

    /// A column of numbers, aligned to the right.
    pub fn number(name: impl Into<String>) -> Heading {
        Heading { numeric: true, ..Heading::new(name) }
    }

    /// The same with another heading if space is short.
    pub fn or(self, short: impl Into<String>) -> Heading {
        Heading { short: short.into(), ..self }
    }

    /// The column with this heading whose cells `cell` makes from rows.
    pub fn cell<'a, T>(self, cell: impl Fn(&T) -> String + 'a) -> TextColumn<'a, T> {
        (self, Box::new(cell))
    }
}

/// A heading, and how the cells below it are made from a row.
pub type TextColumn<'a, T> = (Heading, Box<dyn Fn(&T) -> String + 'a>);

/// A table of formatted cells, printed as text, Markdown or LaTeX.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTable {
    /// The line above it.
    pub title: String,
    /// The columns.
    pub headings: Vec<Heading>,
    /// How many columns, from the left, identify a row. They are repeated if the table is split. In
    /// text, a value equal to the one above it is left out.
    pub keys: usize,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

/// How text is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The most columns of a line.
    pub width: usize,
    /// Whether the terminal shows bold and colours.
    pub colour: bool,
}

impl Style {
    /// Bold, if the terminal supports it.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Dim, if the terminal supports it.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// In an ANSI colour (`32` green, `31` red, `33` yellow), if the terminal supports it.
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const GAP: usize = 2;

impl TextTable {
    /// A table of rows that are made from `items`; its first `keys` columns identify a row.
    pub fn new<T>(
        title: impl Into<String>,
        keys: usize,
        columns: Vec<TextColumn<'_, T>>,
        items: impl IntoIterator<Item = T>,
    ) -> TextTable {
        let row = |item: T| columns.iter().map(|(_, cell)| cell(&item)).collect();
        let rows = items.into_iter().map(row).collect();
        let headings = columns.into_iter().map(|(heading, _)| heading).collect();
        TextTable { title: title.into(), headings, keys, rows }
    }

    /// The table as text. If it is too wide, headings are shortened, then long words in the rows;
    /// then it is split into several tables that repeat the key columns.
    pub fn text(&self, style: Style) -> String {
        let table = self.narrowed(style.width);
        let mut text = String::new();
        if !self.title.is_empty() {
            let _ = writeln!(text, "{}", style.bold(&wrap(&self.title, style.width, 0)));
        }
        for (part, columns) in table.split(style.width).iter().enumerate() {
            if part > 0 {
                text.push('\n');
            }
            table.print(columns, style, &mut text);
        }
        text
    }

    /// Whether [`text`](TextTable::text) leaves the table in one piece at this width.
    pub fn fits(&self, width: usize) -> bool {
        self.narrowed(width).split(width).len() == 1
    }

    /// The table, shortened if it is wider than that.
    fn narrowed(&self, width: usize) -> TextTable {
        let wide = |t: &TextTable| {
            t.widths().iter().sum::<usize>() + GAP * t.headings.len().saturating_sub(1)
        };
        let mut table = self.clone();
        if wide(&table) > width {
            for column in &mut table.headings {
                column.name = column.short.clone();
            }
        }
        if wide(&table) > width {
            for cell in table.rows.iter_mut().flatten() {
                *cell = cell.replace("orthogonal", "orth");
            }
        }
        table
    }

    fn widths(&self) -> Vec<usize> {
        let width = |i: usize, heading: &Heading| {
            let cells = self.rows.iter().map(|row| length(&row[i]));
            cells.max().unwrap_or(0).max(length(&heading.name))
        };
        self.headings.iter().enumerate().map(|(i, column)| width(i, column)).collect()
    }

    /// The columns of each part of the table, such that every part fits.
    fn split(&self, width: usize) -> Vec<Vec<usize>> {
        let widths = self.widths();
        let keys: Vec<usize> = (0..self.keys.min(self.headings.len())).collect();
        let keys_wide: usize = keys.iter().map(|&i| widths[i] + GAP).sum();
        let mut parts = vec![keys.clone()];
        let mut used = keys_wide;
        for (i, &width_of) in widths.iter().enumerate().skip(keys.len()) {
            let last = parts.len() - 1;
            if used + width_of > width && parts[last].len() > keys.len() {
                parts.push(keys.clone());
                used = keys_wide;
            }
            let last = parts.len() - 1;
            parts[last].push(i);
            used += width_of + GAP;
        }
        parts
    }

    fn print(&self, columns: &[usize], style: Style, text: &mut String) {
        let widths = self.widths();
        let mut line = |cells: &mut dyn Iterator<Item = &str>, bold: bool| {
            let padded: Vec<String> = columns
                .iter()
                .zip(cells)
                .map(|(&i, cell)| {
                    let space = " ".repeat(widths[i].saturating_sub(length(cell)));
                    if self.headings[i].numeric { space + cell } else { cell.to_owned() + &space }
                })
                .collect();
            let joined = padded.join(&" ".repeat(GAP));
            let line = joined.trim_end();
            let _ = writeln!(text, "{}", if bold { style.dim(line) } else { line.to_owned() });
        };
        line(&mut columns.iter().map(|&i| self.headings[i].name.as_str()), true);
        let mut above: Option<&Vec<String>> = None;
        for row in &self.rows {
            let same = above.map_or(0, |above| {
                above.iter().zip(row).take(self.keys).take_while(|(a, b)| a == b).count()
            });
            line(&mut columns.iter().map(|&i| if i < same { "" } else { row[i].as_str() }), false);
            above = Some(row);
        }
    }

    /// The table in GitHub's Markdown.
    pub fn markdown(&self) -> String {
        let escape = |text: &str| one_line(text).replace('\\', "\\\\").replace('|', "\\|");
        let row = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let mut text = String::new();
        if !self.title.is_empty() {
            let _ = writeln!(text, "**{}**\n", escape(&self.title));
        }
        text += &row(&mut self.headings.iter().map(|c| escape(&c.name)));
        text += &row(&mut self
            .headings
            .iter()
            .map(|c| if c.numeric { "---:" } else { "---" }.to_owned()));
        for cells in &self.rows {
            text += &row(&mut cells.iter().map(|cell| escape(cell)));
        }
        text
    }

    /// The table in LaTeX, for the package `booktabs`.
    pub fn latex(&self) -> String {
        let row = |cells: &mut dyn Iterator<Item = &String>| {
            format!("    {} \\\\\n", cells.map(|c| latex_text(c)).collect::<Vec<_>>().join(" & "))
        };
        let spec: String =
            self.headings.iter().map(|c| if c.numeric { 'r' } else { 'l' }).collect();
        let mut text = String::from("\\begin{table}\n  \\centering\n");
        if !self.title.is_empty() {
            let _ = writeln!(text, "  \\caption{{{}}}", latex_text(&self.title));
        }
        let _ = writeln!(text, "  \\begin{{tabular}}{{{spec}}}\n    \\toprule");
        text += &row(&mut self.headings.iter().map(|c| &c.name));
        text += "    \\midrule\n";
        for cells in &self.rows {
            text += &row(&mut cells.iter());
        }
        text + "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
    }
}

fn latex_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '\\' => escaped += "\\textbackslash{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '±' => escaped += "$\\pm$",
            '−' => escaped += "$-$",
            '≥' => escaped += "$\\geq$",
            '≤' => escaped += "$\\leq$",
            'δ' => escaped += "$\\delta$",
            '…' => escaped += "\\dots{}",
            c => escaped.push(c),
        }
    }
    escaped
}
