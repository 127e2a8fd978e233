// Sets the chosen colours before the first paint, which a module would be too late for. app.js changes the choice.
try {
  const theme = localStorage.getItem("ssd-llm.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the page follows the system.
}
