"""The conversation with Azure. Touches no Linux beyond sockets and its cache; never imports waagent.machine."""
