// What azure.sh does, declared. NOT COMPILED AND NOT DEPLOYED where this was written: no Bicep compiler was at hand.
// Look at `az deployment group what-if` first; where the two differ, azure.sh is the one that is tested.
//
//   az deployment group create --resource-group <group of the cluster> --template-file docker/setup/main.bicep \
//     --parameters clusterName=<cluster> clients='["<front end'"'"'s client id>"]'
//
// Needs Application.ReadWrite.All and, for consent, DelegatedPermissionGrant.ReadWrite.All. Public cloud only, as the
// Microsoft Graph extension is. The cluster's flags stay with `az aks update --enable-oidc-issuer
// --enable-workload-identity`, because declaring an existing cluster would declare all of it.
// An application that azure.sh made has no uniqueName: this would make a second one beside it.
targetScope = 'resourceGroup'

extension microsoftGraphV1

@description('Display name, and the name by which a later deployment finds the application again.')
param name string = 'obo-gateway'

@description('Scope that callers ask for.')
param scope string = 'access_as_user'

@description('Client ids of front ends that may call without a consent prompt of their own.')
param clients string[] = []

@description('Delegated Microsoft Graph permissions: by default what /me and the shipped handlers need.')
param permissions string[] = ['User.Read', 'User.Read.All', 'Mail.ReadBasic', 'Files.Read']

@description('Consent for the whole tenant; without it an administrator, or each user, consents later.')
param consent bool = true

@description('AKS cluster of this resource group, with its OIDC issuer on.')
param clusterName string

@description('Of the gateway\'s service account.')
param namespace string = 'obo-gateway'
param serviceAccount string = 'obo-gateway'

@description('Azure Managed Redis of this resource group that the gateway signs in to with tokens; empty for none.')
param redisName string = ''

resource cluster 'Microsoft.ContainerService/managedClusters@2024-09-01' existing = {
  name: clusterName
}

// Microsoft Graph itself, the same in every tenant.
resource graph 'Microsoft.Graph/servicePrincipals@v1.0' existing = {
  appId: '00000003-0000-0000-c000-000000000000'
}

// Made from the names, so that every deployment finds it again.
var scopeId = guid(name, scope)

var api = {
  requestedAccessTokenVersion: 2
  knownClientApplications: clients
  oauth2PermissionScopes: [
    {
      id: scopeId
      value: scope
      type: 'User'
      isEnabled: true
      adminConsentDisplayName: 'Call the gateway'
      adminConsentDescription: 'Call the gateway as the signed-in user'
      userConsentDisplayName: 'Call the gateway'
      userConsentDescription: 'Call the gateway as you'
    }
  ]
}

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: name
  displayName: name
  signInAudience: 'AzureADMyOrg'
  api: api
  optionalClaims: {
    accessToken: [
      // Tells the gateway that a front end understands claims challenges.
      { name: 'xms_cc', essential: false }
    ]
  }
  requiredResourceAccess: [
    {
      resourceAppId: graph.appId
      resourceAccess: map(
        filter(graph.oauth2PermissionScopes, one => contains(permissions, one.value)),
        one => { id: one.id, type: 'Scope' }
      )
    }
  ]

  resource federatedCredential 'federatedIdentityCredentials@v1.0' = {
    name: '${application.uniqueName}/aks-${clusterName}-${namespace}-${serviceAccount}'
    // Compared byte for byte; the trailing slash belongs to it.
    issuer: cluster.properties.oidcIssuerProfile.issuerURL
    subject: 'system:serviceaccount:${namespace}:${serviceAccount}'
    audiences: ['api://AzureADTokenExchange']
  }
}

resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
}

// The App ID URI holds the client id, and clients are authorised for a scope that must exist: both come second.
module exposed 'exposed-api.bicep' = {
  name: '${name}-exposed-api'
  params: {
    name: application.uniqueName
    appId: application.appId
    api: union(api, {
      preAuthorizedApplications: map(clients, client => {
        appId: client
        delegatedPermissionIds: [scopeId]
      })
    })
  }
}

resource grant 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (consent) {
  clientId: principal.id
  resourceId: graph.id
  consentType: 'AllPrincipals'
  scope: join(permissions, ' ')
}

// The one policy that there is: data commands on all keys, no administration.
resource redisAccess 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = if (!empty(redisName)) {
  name: '${redisName}/default/obogateway'
  properties: {
    accessPolicyName: 'default'
    user: {
      objectId: principal.id
    }
  }
}

output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_CLIENT_ID string = application.appId
output scope string = 'api://${application.appId}/${scope}'
