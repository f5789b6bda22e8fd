"""What is said: channels, message types, their codec, upcasts, the closed registry, the envelope and its wire form.

Pure: nothing here does I/O or knows a clock. Every error it raises about a message is a `ContractError`; every error
about a declaration is a `WiringError` at import or start, never once per message.
"""
