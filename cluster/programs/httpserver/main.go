// An HTTP server of Go's standard library, HTTP/1 and HTTP/2 without TLS on one port, that logs what it served:
// `httpserver PORT LOG`. LOG gets a line for each request: its method, and its path as a server of files reads it.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path"
	"strings"
)

func main() {
	served, err := os.OpenFile(os.Args[2], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		log.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	answer := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(served, "%s %q\n", r.Method, path.Clean("/"+r.URL.Path))
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			upgrade(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, r.RequestURI)
	}
	server := http.Server{
		Addr: ":" + os.Args[1], Handler: http.HandlerFunc(answer), Protocols: &protocols, ErrorLog: log.New(io.Discard, "", 0),
	}
	log.Fatal(server.ListenAndServe())
}

// upgrade refuses below /public/refuse, else switches and answers every byte by itself.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "refuse") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	io.Copy(connection, buffered)
}
