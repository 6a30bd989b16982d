// Second half of main.bicep's application: what refers to its own client id and scope. Not compiled either.
extension microsoftGraphV1

param name string
param appId string
param api object

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: name
  displayName: name
  identifierUris: ['api://${appId}']
  api: api
}
