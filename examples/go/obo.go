// Package main calls APIs on behalf of users: tokens come from the local API of obo-gateway beside this program.
// The standard library is all that it needs.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Gateway is the local API, on a port of this machine or on a Unix socket.
type Gateway struct {
	base   string
	client *http.Client
}

// Refused is what the gateway answered instead of a token, for this program's own caller to see.
type Refused struct {
	Status     int
	Challenge  string
	RetryAfter string
	Problem    struct {
		Code          string `json:"code"`
		Detail        string `json:"detail"`
		Claims        string `json:"claims,omitempty"`
		ConsentURI    string `json:"consentUri,omitempty"`
		CorrelationID string `json:"correlationId"`
	}
}

func (refused *Refused) Error() string {
	return fmt.Sprintf("%s: %s", refused.Problem.Code, refused.Problem.Detail)
}

// NewGateway takes an address such as http://127.0.0.1:5178 or unix:///run/obo-gateway/local.sock.
func NewGateway(address string) *Gateway {
	// No proxy of the environment stands between two programs of one machine.
	transport := &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second}
	base := strings.TrimRight(address, "/")
	if path := strings.TrimPrefix(base, "unix://"); path != base {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		base = "http://localhost"
	}
	return &Gateway{base: base, client: &http.Client{Transport: transport, Timeout: 15 * time.Second}}
}

// Authorization is the field for an API, as the user. Claims are those of a challenge of the API, decoded; or empty.
func (gateway *Gateway) Authorization(ctx context.Context, api, userToken, claims string) (string, error) {
	target := gateway.base + "/AuthorizationHeader/" + url.PathEscape(api)
	if claims != "" {
		target += "?" + url.Values{"optionsOverride.AcquireTokenOptions.Claims": {claims}}.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+userToken)
	answer, err := gateway.client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		refused := &Refused{
			Status:     answer.StatusCode,
			Challenge:  answer.Header.Get("WWW-Authenticate"),
			RetryAfter: answer.Header.Get("Retry-After"),
		}
		if err := json.Unmarshal(body, &refused.Problem); err != nil {
			return "", fmt.Errorf("the gateway answered %d without a problem: %w", answer.StatusCode, err)
		}
		return "", refused
	}
	var granted struct {
		AuthorizationHeader string `json:"authorizationHeader"`
	}
	if err := json.Unmarshal(body, &granted); err != nil {
		return "", err
	}
	return granted.AuthorizationHeader, nil
}
