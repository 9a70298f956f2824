// Shows the node's own OpenAPI document; nothing comes from anywhere else.
Redoc.init("/openapi.json", {
  disableSearch: false,
  hideDownloadButton: false,
  hideHostname: true,
  jsonSampleExpandLevel: 3,
  expandResponses: "200",
  nativeScrollbars: true,
  theme: {
    typography: {
      fontFamily: "system-ui, sans-serif",
      headings: { fontFamily: "system-ui, sans-serif" },
      code: { fontFamily: "ui-monospace, monospace" },
    },
  },
}, document.getElementById("reference"));
