#!/usr/bin/env bash
# Sets up everything that the gateway needs in Azure: app registration, exposed scope, pre-authorised clients, Graph
# permission and consent, AKS flags, federated credential, access to Redis. Looks before it changes, so it can be run again at any time.
# Needs: Azure CLI, signed in; Node 20.19 or later.
set -euo pipefail

usage() {
  cat <<'TEXT'
docker/setup/azure.sh [options]

  --dry-run               show what would be changed; read only
  --name NAME             display name of the app registration      (default obo-gateway)
  --scope NAME            scope that callers ask for                (default access_as_user)
  --client ID             front end that may call without a consent prompt of its own; may be repeated
  --permission NAME       delegated Microsoft Graph permission; may be repeated   (default: what the shipped handlers need)
  --mcp                   create the public client that MCP clients sign in with (mcp.clientId)
  --redirect-uri URI      of that client; may be repeated           (default http://localhost and its usual paths)
  --no-consent            leave consent to an administrator, or to each user
  --cluster NAME          AKS cluster to federate with; without it that part is left out
  --resource-group NAME   where the cluster is
  --namespace NAME        of the gateway's service account          (default obo-gateway)
  --service-account NAME                                            (default obo-gateway)
  --redis NAME            Azure Managed Redis that the gateway signs in to; without it that part is left out
  --redis-resource-group NAME                                       (default that of --resource-group)
  --help
TEXT
}

fail() {
  printf 'azure.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

dry_run=no
name=obo-gateway
scope=access_as_user
clients=()
permissions=()
consent=yes
mcp=no
redirect_uris=()
cluster=
resource_group=
namespace=obo-gateway
service_account=obo-gateway
redis=
redis_resource_group=

value() { # option, number of arguments left
  (($2 >= 2)) || fail "$1 needs a value" 2
}
while (($# > 0)); do
  case $1 in
    --dry-run) dry_run=yes ;;
    --no-consent) consent=no ;;
    --mcp) mcp=yes ;;
    --help)
      usage
      exit 0
      ;;
    --name | --scope | --client | --permission | --redirect-uri | --cluster | --resource-group | --namespace | \
      --service-account | --redis | --redis-resource-group)
      value "$1" $#
      case $1 in
        --name) name=$2 ;;
        --scope) scope=$2 ;;
        --client) clients+=("$2") ;;
        --permission) permissions+=("$2") ;;
        --redirect-uri) redirect_uris+=("$2") ;;
        --cluster) cluster=$2 ;;
        --resource-group) resource_group=$2 ;;
        --namespace) namespace=$2 ;;
        --service-account) service_account=$2 ;;
        --redis) redis=$2 ;;
        --redis-resource-group) redis_resource_group=$2 ;;
      esac
      shift
      ;;
    *)
      usage >&2
      fail "unknown option $1" 2
      ;;
  esac
  shift
done
((${#permissions[@]} > 0)) || permissions=(User.Read User.Read.All Mail.ReadBasic Files.Read)
[[ -z $cluster || -n $resource_group ]] || fail "--cluster needs --resource-group" 2
[[ $mcp == yes || ${#redirect_uris[@]} -eq 0 ]] || fail "--redirect-uri goes with --mcp" 2
# Entra leaves the port of http://localhost out of the comparison, and compares the path.
((${#redirect_uris[@]} > 0)) ||
  redirect_uris=(http://localhost http://localhost/callback http://localhost/oauth/callback)
for uri in "${redirect_uris[@]}"; do
  [[ $uri =~ ^[a-z][a-z0-9+.-]*://?[^[:space:]\*\#\?]+$ ]] || fail "--redirect-uri: $uri is not a redirect URI" 2
done
redis_resource_group=${redis_resource_group:-$resource_group}
[[ -z $redis || -n $redis_resource_group ]] || fail "--redis needs --redis-resource-group" 2
# It stands inside a query; Entra allows more, a gateway does not need it.
[[ $name =~ ^[A-Za-z0-9._\ -]+$ ]] || fail "--name: letters, digits, blank, dot, dash and underscore only" 2
for permission in "${permissions[@]}"; do
  [[ $permission =~ ^[A-Za-z0-9.-]+$ ]] || fail "--permission: $permission is not the name of a permission" 2
done
for tool in az node; do
  command -v "$tool" >/dev/null || fail "$tool is not on PATH"
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
changes=0

say() { printf '%s\n' "$1"; }

# Runs a command that changes something, or in a dry run shows it. Its output is the command's own.
change() {
  changes=$((changes + 1))
  if [[ $dry_run == yes ]]; then
    printf '  would run:' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
  else
    "$@"
  fi
}

# What Entra has just made is not on all of its servers at once.
patiently() {
  local attempt
  for attempt in 1 2 3 4 5; do
    if "$@"; then return 0; fi
    [[ $dry_run == no && $attempt != 5 ]] || return 1
    say "  not there yet; trying again" >&2
    sleep "${AZURE_SETUP_PAUSE_SECONDS:-5}"
  done
}

tenant_id=$(az account show --query tenantId -o tsv) || fail "sign in first: az login"
cloud=$(az cloud show --query name -o tsv)
graph=$(az cloud show --query endpoints.microsoftGraphResourceId -o tsv)
graph=${graph%/}
case $cloud in
  AzureUSGovernment) audience=api://AzureADTokenExchangeUSGov ;;
  AzureChinaCloud) audience=api://AzureADTokenExchangeChina ;;
  *) audience=api://AzureADTokenExchange ;;
esac
say "tenant $tenant_id ($cloud)"

say "app registration $name"
# The filter of the command itself is by prefix.
app_id=$(az ad app list --display-name "$name" --query "[?displayName=='$name'].appId" -o tsv)
[[ $app_id != *$'\n'* ]] || fail "several applications are named $name; choose another --name, or delete one"
if [[ -z $app_id ]]; then
  app_id=$(change az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId -o tsv)
  # Counted here, since the command ran in a subshell.
  changes=$((changes + 1))
  app_id=${app_id:-00000000-0000-0000-0000-000000000000}
  created=yes
else
  created=no
fi
say "  client id $app_id"

say "service principal"
if [[ -z $(az ad sp list --filter "appId eq '$app_id'" --query '[].id' -o tsv) ]]; then
  patiently change az ad sp create --id "$app_id" --query id -o tsv
fi

if [[ $mcp == yes ]]; then
  say "public client $name-mcp"
  mcp_id=$(az ad app list --display-name "$name-mcp" --query "[?displayName=='$name-mcp'].appId" -o tsv)
  [[ $mcp_id != *$'\n'* ]] || fail "several applications are named $name-mcp; choose another --name, or delete one"
  if [[ -z $mcp_id ]]; then
    mcp_id=$(change az ad app create --display-name "$name-mcp" --sign-in-audience AzureADMyOrg --query appId -o tsv)
    changes=$((changes + 1))
    mcp_id=${mcp_id:-00000000-0000-0000-0000-000000000001}
    mcp_created=yes
  else
    mcp_created=no
  fi
  say "  client id $mcp_id"
  if [[ -z $(az ad sp list --filter "appId eq '$mcp_id'" --query '[].id' -o tsv) ]]; then
    patiently change az ad sp create --id "$mcp_id" --query id -o tsv
  fi
  # Pre-authorised, so that no user is asked, and among knownClientApplications, so that one consent covers what the
  # gateway needs as well.
  clients+=("$mcp_id")
fi

say "scope $scope, clients, token version 2, xms_cc, Graph permissions ${permissions[*]}"
permission_ids=()
for permission in "${permissions[@]}"; do
  id=$(az ad sp show --id 00000003-0000-0000-c000-000000000000 \
    --query "oauth2PermissionScopes[?value=='$permission'].id" -o tsv)
  [[ -n $id ]] || fail "Microsoft Graph has no delegated permission named $permission"
  permission_ids+=("$id")
done
application_url="$graph/v1.0/applications(appId='$app_id')"

# One line of JSON for each request that is needed; none when all is as it should be.
application_patches() {
  local current='{}'
  if [[ $created == no || $dry_run == no ]]; then
    current=$(az rest --method GET --url "$application_url" -o json) || return 1
  fi
  local list=()
  local one
  for one in ${clients[@]+"${clients[@]}"}; do list+=(--client "$one"); done
  for one in "${permission_ids[@]}"; do list+=(--permission "$one"); done
  node "$here/registration.mjs" application --app-id "$app_id" --scope "$scope" "${list[@]}" <<<"$current"
}
patches=$(patiently application_patches) || fail "the application cannot be read or is not as expected"
while IFS= read -r patch; do
  if [[ -z $patch ]]; then continue; fi
  patiently change az rest --method PATCH --url "$application_url" \
    --headers Content-Type=application/json --body "$patch" || fail "the application cannot be changed"
done <<<"$patches"

if [[ $mcp == yes ]]; then
  say "redirect URIs and permission of $name-mcp"
  mcp_url="$graph/v1.0/applications(appId='$mcp_id')"
  # The permission names the scope by its id, which exists by now, except in a dry run.
  public_client_patches() {
    local current='{}' gateway='{}'
    if [[ $mcp_created == no || $dry_run == no ]]; then
      current=$(az rest --method GET --url "$mcp_url" -o json) || return 1
    fi
    if [[ $created == no || $dry_run == no ]]; then
      gateway=$(az rest --method GET --url "$application_url" -o json) || return 1
    fi
    local list=()
    local one
    for one in "${redirect_uris[@]}"; do list+=(--redirect-uri "$one"); done
    node "$here/registration.mjs" public-client --app-id "$app_id" --scope "$scope" "${list[@]}" \
      <<<"{\"client\":$current,\"gateway\":$gateway}"
  }
  patches=$(patiently public_client_patches) || fail "the public client cannot be read or is not as expected"
  if [[ -n $patches ]]; then
    patiently change az rest --method PATCH --url "$mcp_url" \
      --headers Content-Type=application/json --body "$patches" || fail "the public client cannot be changed"
  fi
fi

if [[ $consent == yes ]]; then
  say "consent of the tenant"
  # Where that cannot be read, as before the application exists, nothing counts as granted.
  grants=$(az ad app permission list-grants --id "$app_id" \
    --query "[?consentType=='AllPrincipals'].scope" -o tsv 2>/dev/null) || grants=
  granted=" ${grants//$'\n'/ } "
  for permission in "${permissions[@]}"; do
    if [[ $granted != *" $permission "* ]]; then
      patiently change az ad app permission admin-consent --id "$app_id" ||
        fail "no consent: it takes a privileged role; ask an administrator, or use --no-consent and let users consent"
      break
    fi
  done
fi

if [[ -n $cluster ]]; then
  say "cluster $cluster: OIDC issuer and workload identity"
  aks() { az aks show --resource-group "$resource_group" --name "$cluster" --query "$1" -o tsv; }
  oidc=$(aks oidcIssuerProfile.enabled)
  webhook=$(aks securityProfile.workloadIdentity.enabled)
  if [[ $oidc != [Tt]rue || $webhook != [Tt]rue ]]; then
    change az aks update --resource-group "$resource_group" --name "$cluster" \
      --enable-oidc-issuer --enable-workload-identity --output none
  fi
  # Copied as it is: the trailing slash belongs to it.
  issuer=$(aks oidcIssuerProfile.issuerUrl)
  if [[ -z $issuer ]]; then
    [[ $dry_run == yes ]] || fail "the cluster shows no OIDC issuer"
    issuer='https://issuer-of-the-cluster/'
  fi

  say "federated credential for system:serviceaccount:$namespace:$service_account"
  current='[]'
  if [[ $created == no || $dry_run == no ]]; then
    current=$(az ad app federated-credential list --id "$app_id" -o json)
  fi
  wanted=$(node "$here/registration.mjs" federated-credential --name "aks-$cluster-$namespace-$service_account" \
    --issuer "$issuer" --subject "system:serviceaccount:$namespace:$service_account" --audience "$audience" <<<"$current")
  if [[ -n $wanted ]]; then
    verb=${wanted%% *}
    parameters=${wanted#* }
    if [[ $verb == create ]]; then
      change az ad app federated-credential create --id "$app_id" --parameters "$parameters" --output none
    else
      change az ad app federated-credential update --id "$app_id" \
        --federated-credential-id "aks-$cluster-$namespace-$service_account" --parameters "$parameters" --output none
    fi
  fi
fi

if [[ -n $redis ]]; then
  say "access policy of Redis $redis"
  # Redis knows an identity by the object id of its service principal, which the gateway's tokens name.
  principal_id=$(az ad sp list --filter "appId eq '$app_id'" --query '[].id' -o tsv)
  if [[ -z $principal_id ]]; then
    [[ $dry_run == yes ]] || fail "the service principal cannot be found yet; run this again in a minute"
    principal_id=00000000-0000-0000-0000-000000000000
  fi
  say "  object id $principal_id"
  database=(--resource-group "$redis_resource_group" --cluster-name "$redis" --database-name default)
  assigned=$(az redisenterprise database access-policy-assignment list "${database[@]}" \
    --query "[?user.objectId=='$principal_id'].name" -o tsv) ||
    fail "the access policies of $redis cannot be read: is it an Azure Managed Redis of $redis_resource_group?"
  if [[ -z $assigned ]]; then
    change az redisenterprise database access-policy-assignment create "${database[@]}" \
      --access-policy-assignment-name obogateway --access-policy-name default --object-id "$principal_id" --output none
  fi
fi

if ((changes == 0)); then say "nothing to change"; fi
cat <<TEXT

AZURE_TENANT_ID=$tenant_id
AZURE_CLIENT_ID=$app_id

Callers ask for the scope api://$app_id/$scope.
$([[ $mcp == no ]] || printf 'MCP clients sign in with it by mcp.clientId: %s in gateway.yaml.\n' "$mcp_id")
Next: put both ids into docker/aks/overlays/<name>/service-account.yaml, deploy, then ask the doctor:
  kubectl -n $namespace exec deploy/obo-gateway -- node dist/doctor/main.js --skip ports
TEXT
