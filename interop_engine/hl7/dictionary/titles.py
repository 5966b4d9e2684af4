"""What segments and data types are called in words (HL7 v2.8.2, chapters 2–17). hl7apy has no titles. Development time only."""

from __future__ import annotations

_SEGMENTS = """
ABS abstract|ACC accident|ADD addendum|ADJ adjustment|AFF professional affiliation
AIG appointment information, general resource|AIL appointment information, location resource
AIP appointment information, personnel resource|AIS appointment information|AL1 patient allergy information
APR appointment preferences|ARQ appointment request|ARV access restriction|AUT authorization information|BHS batch header
BLC blood code|BLG billing|BPO blood product order|BPX blood product dispense status|BTS batch trailer
BTX blood product transfusion or disposition|BUI blood unit information|CDM charge description master|CDO cumulative dosage
CER certificate detail|CM0 clinical study master|CM1 clinical study phase master|CM2 clinical study schedule master
CNS clear notification|CON consent segment|CSP clinical study phase|CSR clinical study registration
CSS clinical study data schedule|CTD contact data|CTI clinical trial identification|DB1 disability|DEV device|DG1 diagnosis
DMI DRG master file information|DON donation|DPS diagnosis and procedure code|DRG diagnosis related group
DSC continuation pointer|DSP display data|DST transport destination|ECD equipment command|ECR equipment command response
EDU educational detail|EQL embedded query language|EQP equipment log and service|EQU equipment detail|ERQ event replay query
ERR error|EVN event type|FAC facility|FHS file header|FT1 financial transaction|FTS file trailer|GOL goal detail
GP1 grouping and reimbursement, visit|GP2 grouping and reimbursement, procedure line item|GT1 guarantor
IAM patient adverse reaction information|IAR allergy reaction|IIM inventory item master|ILT material lot|IN1 insurance
IN2 insurance, additional information|IN3 insurance, additional information, certification|INV inventory detail
IPC imaging procedure control|IPR invoice processing results|ISD interaction status detail|ITM material item|IVC invoice
IVT material location|LAN language detail|LCC location charge code|LCH location characteristic|LDP location department
LOC location identification|LRL location relationship|MCP master file coverage|MFA master file acknowledgement
MFE master file entry|MFI master file identification|MRG merge patient information|MSA message acknowledgement
MSH message header|NCK system clock|NDS notification detail|NK1 next of kin or associated parties|NPU bed status update
NSC application status change|NST application control level statistics|NTE notes and comments|OBR observation request
OBX observation result|ODS dietary orders, supplements and preferences|ODT diet tray instructions
OH1 person employment status|OH2 past or present job|OH3 usual work|OH4 combat zone work|OM1 general observation
OM2 numeric observation|OM3 categorical service, test or observation|OM4 observations that require specimens
OM5 observation batteries|OM6 observations calculated from other observations|OM7 additional basic attributes
OMC supporting clinical information|ORC common order|ORG practitioner organization unit|ORO order, other|OVR override
PAC shipment package|PCE patient charge cost center exceptions|PCR possible causal relationship
PD1 patient additional demographic|PDA patient death and autopsy|PDC product detail country
PEO product experience observation|PES product experience sender|PID patient identification|PKG item packaging
PM1 payer master|PMT payment information|PR1 procedures|PRA practitioner detail|PRB problem details|PRC pricing
PRD provider data|PRT participation information|PSG product or service group|PSH product summary header
PSL product or service line item|PSS product or service section|PTH pathway|PV1 patient visit
PV2 patient visit, additional information|PYE payee information|QAK query acknowledgement|QID query identification
QPD query parameter definition|QRD original style query definition|QRF original style query filter
QRI query response instance|RCP response control parameter|RDF table row definition|RDT table row data
REL clinical relationship|RF1 referral information|RFI request for information|RGS resource group
RMI risk management incident|ROL role|RQ1 requisition detail, item|RQD requisition detail|RX1 pharmacy order
RXA pharmacy or treatment administration|RXC pharmacy or treatment component order|RXD pharmacy or treatment dispense
RXE pharmacy or treatment encoded order|RXG pharmacy or treatment give|RXO pharmacy or treatment order
RXR pharmacy or treatment route|RXV pharmacy or treatment infusion|SAC specimen container detail
SCD anti-microbial cycle data|SCH scheduling activity information|SCP sterilizer configuration|SDD sterilization device data
SFT software|SGH segment group header|SGT segment group trailer|SHP shipment|SID substance identifier|SLT sterilization lot
SPM specimen|SPR stored procedure request|STF staff identification|STZ sterilization parameter|TCC test code configuration
TCD test code detail|TQ1 timing and quantity|TQ2 timing and quantity relationship|TXA transcription document header
UAC user authentication credential|UB1 uniform billing 1|UB2 uniform billing 2|URD results and update definition
URS unsolicited selection|VAR variance|VND purchasing vendor|VTQ virtual table query request
"""

_DATATYPES = """
AD address|AUI authorization information|CCD charge code and date|CCP channel calibration parameters|CD channel definition
CE coded element|CF coded element with formatted values|CK composite ID with check digit|CN composite ID number and name
CNE coded with no exceptions|CNN composite ID number and name, simplified|CP composite price|CQ composite quantity with units
CSU channel sensitivity and units|CWE coded with exceptions|CX extended composite ID with check digit
DDI daily deductible information|DIN date and institution name|DLD discharge to location and date|DLN driver's licence number
DLT delta|DR date and time range|DT date|DTM date and time|DTN day type and number|ED encapsulated data|EI entity identifier
EIP entity identifier pair|ELD error location and description|ERL error location|FC financial class|FN family name
FT formatted text|GTS general timing specification|HD hierarchic designator|ICD insurance certification definition
ID coded value for HL7 defined tables|IS coded value for user-defined tables|JCC job code and class
LA1 location with address, variation 1|LA2 location with address, variation 2|MA multiplexed array|MO money
MOC money and code|MOP money or percentage|MSG message type|NA numeric array|NDL name with date and location|NM numeric
NR numeric range|OCD occurrence code and date|OG observation grouper|OSD order sequence definition
OSP occurrence span code and date|PCF pre-certification required|PI person identifier
PIP practitioner institutional privileges|PL person location|PLN practitioner licence or other ID number|PN person name
PPN performing person time stamp|PRL parent result link|PT processing type|PTA policy type and amount
QIP query input parameter list|QSC query selection criteria|RCD row column definition|RFR reference range|RI repeat interval
RMC room coverage|RP reference pointer|RPT repeat pattern|SAD street address|SCV scheduling class value pair|SI sequence ID
SN structured numeric|SNM string of telephone number digits|SPD specialty description|SPS specimen source|SRT sort order
ST string data|TM time|TN telephone number|TQ timing and quantity|TS time stamp|TX text data|UVC value code and amount
VH visiting hours|VID version identifier|VR value range|WVI channel identifier|WVS waveform source|XAD extended address
XCN extended composite ID number and name for persons|XON extended composite name and ID number for organizations
XPN extended person name|XTN extended telecommunication number
"""


def _titles(text: str) -> dict[str, str]:
    entries = text.strip().replace("\n", "|").split("|")
    return {code: title for code, _, title in (entry.partition(" ") for entry in entries)}


SEGMENTS = _titles(_SEGMENTS)
DATATYPES = _titles(_DATATYPES)
