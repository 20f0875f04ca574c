package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const patience = 10 * time.Second // with one request

type headers []string // "name:value"

func (h *headers) String() string { return strings.Join(*h, ", ") }

func (h *headers) Set(value string) error {
	if !strings.Contains(value, ":") {
		return errors.New("want NAME:VALUE")
	}
	*h = append(*h, value)
	return nil
}

func (h headers) each(do func(name, value string)) {
	for _, header := range h {
		name, value, _ := strings.Cut(header, ":")
		do(name, value)
	}
}

// ask sends the same request as often as --count says, one after the other and over one connection, and prints each
// answer and an empty line. Redirects are not followed. What is not answered at all is an error, and ends it.
func ask(words []string) error {
	if len(words) == 0 {
		return errors.New("client URL [--method=GET] [-H NAME:VALUE] [--count=1]")
	}
	var header headers
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	verb := flags.String("method", "GET", "HTTP method")
	count := flags.Int("count", 1, "requests")
	flags.Var(&header, "H", "header, NAME:VALUE")
	if err := flags.Parse(words[1:]); err != nil {
		return err
	}
	target, err := url.Parse(words[0])
	if err != nil {
		return err
	}
	one := func() (answer, error) { return askHTTP(*verb, words[0], header) }
	if target.Scheme == "grpc" {
		connection, err := grpc.NewClient("passthrough:///"+target.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer connection.Close()
		one = func() (answer, error) { return askGRPC(connection, header) }
	}
	for i := range *count {
		got, err := one()
		if err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		fmt.Printf("[%d] Url=%s\n", i, words[0])
		for _, line := range got.head {
			fmt.Printf("[%d] %s\n", i, line)
		}
		for line := range strings.Lines(got.body) {
			fmt.Printf("[%d body] %s\n", i, strings.TrimSpace(line))
		}
		fmt.Println()
	}
	return nil
}

// answer: the lines about it, and what the server said.
type answer struct {
	head []string
	body string
}

var client = &http.Client{
	Timeout:       patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func askHTTP(verb, target string, header headers) (answer, error) {
	request, err := http.NewRequest(verb, target, nil)
	if err != nil {
		return answer{}, err
	}
	header.each(request.Header.Add)
	request.Host = request.Header.Get("Host") // empty: the target's
	got, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	status := fmt.Sprintf("StatusCode=%d", got.StatusCode)
	return answer{append(listed("ResponseHeader", got.Header), status), string(body)}, err
}

func askGRPC(connection *grpc.ClientConn, header headers) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header.each(func(name, value string) { ctx = metadata.AppendToOutgoingContext(ctx, name, value) })
	got, about := &text{}, metadata.MD{}
	err := connection.Invoke(ctx, method, wrapperspb.String("hello"), got, grpc.Header(&about))
	return answer{listed("ResponseHeader", about), got.Value}, err
}
