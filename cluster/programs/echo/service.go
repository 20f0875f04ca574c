package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	service = "proto.EchoTestService"
	method  = "/" + service + "/Echo"
)

// text stands for EchoRequest and EchoResponse: on the wire, too, they are a string with the number 1.
type text = wrapperspb.StringValue

type echoFunction func(context.Context, *text) (*text, error)

// describe is what protoc would have written for a service with the one method Echo.
func describe(echo echoFunction) *grpc.ServiceDesc {
	handler := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := &text{}
		if err := decode(request); err != nil {
			return nil, err
		}
		return echo(ctx, request)
	}
	return &grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: handler}},
	}
}
