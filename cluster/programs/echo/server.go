package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type ports []int

func (p *ports) String() string { return fmt.Sprint(*p) }

func (p *ports) Set(value string) error {
	port, err := strconv.Atoi(value)
	*p = append(*p, port)
	return err
}

// serve listens until one of its listeners fails. HTTP ports speak HTTP/1.1 and HTTP/2 with prior knowledge.
func serve(words []string) error {
	var plain, secure, tcp, calls ports
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	flags.Var(&plain, "port", "HTTP port")
	flags.Var(&secure, "tls", "of the HTTP ports, one with TLS")
	flags.Var(&tcp, "tcp", "TCP port")
	flags.Var(&calls, "grpc", "gRPC port, without TLS")
	flags.String("crt", "", "for the image that this one stands for; here a certificate is made at each start")
	flags.String("key", "", "as crt")
	if err := flags.Parse(words); err != nil {
		return err
	}
	if len(plain) == 0 {
		plain = ports{8080}
	}
	failed := make(chan error)
	for _, port := range plain {
		go func() { failed <- serveHTTP(port, slices.Contains(secure, port)) }()
	}
	for _, port := range tcp {
		go func() { failed <- serveTCP(port) }()
	}
	for _, port := range calls {
		go func() { failed <- serveGRPC(port) }()
	}
	return <-failed
}

func serveHTTP(port int, secure bool) error {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Addr:      fmt.Sprintf(":%d", port),
		Protocols: protocols,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, said(port, r.RemoteAddr, map[string]string{
				"Host": r.Host, "URL": r.RequestURI, "Method": r.Method, "Proto": r.Proto,
			}, r.Header))
		}),
	}
	if !secure {
		return server.ListenAndServe()
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	return server.ListenAndServeTLS("", "")
}

func serveGRPC(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	server.RegisterService(describe(func(ctx context.Context, _ *text) (*text, error) {
		headers, _ := metadata.FromIncomingContext(ctx)
		from, _ := peer.FromContext(ctx)
		host := strings.Join(headers.Get(":authority"), ",")
		fields := map[string]string{"Host": host, "Method": method, "Proto": "GRPC", "StatusCode": "200"}
		return wrapperspb.String(said(port, from.Addr.String(), fields, headers)), nil
	}), nil)
	return server.Serve(listener)
}

func serveTCP(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			line, _ := bufio.NewReader(client).ReadString('\n')
			fields := map[string]string{"Proto": "TCP", "StatusCode": "200"}
			io.WriteString(client, said(port, client.RemoteAddr().String(), fields, nil)+line)
		}()
	}
}

// said is the answer's body: a line for each thing that the server knows of the request.
func said(port int, from string, fields map[string]string, headers map[string][]string) string {
	hostname, _ := os.Hostname()
	client, _, _ := net.SplitHostPort(from)
	lines := []string{"Hostname=" + hostname, fmt.Sprintf("ServicePort=%d", port), "IP=" + client}
	for name, value := range fields {
		lines = append(lines, name+"="+value)
	}
	return strings.Join(append(lines, listed("RequestHeader", headers)...), "\n") + "\n"
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"echo"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, err
}
