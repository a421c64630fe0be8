"""Whether a command may run: judged on what a shell would run, not on its letters.

    text ──► plain ──────────────────────────┐         plain words: no grammar
      │                                      ▼
      └──► mask ──► grammar ──► reader ──► inspection ──► rules ──► Verdict
           here-     tree-      simple     ▲    │
           documents sitter     commands,  │    └► launchers, interpreters: words that are a command,
           put aside            their words│       text that a shell reads, code that runs commands
                                and pipes  └──────── text is read again

`validator` is the only door: it holds the options, answers plain lines at once, and imports the rest on first use.
Nothing here starts anything. What can't be understood is refused; an argument that is unknown is fine.
"""
