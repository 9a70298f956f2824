import typer
app = typer.Typer()
@app.command("demo")
def x() -> None: "Does."
