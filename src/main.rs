use clap::Parser;
#[derive(Parser)]
enum Cli { Summary(wninit::commands::summary::Args) }
fn main() -> anyhow::Result<()> {
    let Cli::Summary(args) = Cli::parse();
    std::process::exit(wninit::commands::summary::run(&args)?.into())
}
