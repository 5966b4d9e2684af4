"""What hl7apy does not say and the compilation needs: table 0354, families of data types, exceptions. Development time only."""

from __future__ import annotations

# HL7 table 0354 (chapter 2C), the structures that serve more than the event they are named after. ``*``: any event.
# The first row that names an event wins; a later one is accepted where MSH-9.3 declares it.
MESSAGE_STRUCTURES = """
ACK: *
ADT_A01: A01 A04 A08 A13
ADT_A05: A05 A14 A28 A31
ADT_A06: A06 A07
ADT_A09: A09 A10 A11
ADT_A18: A18
ADT_A21: A21 A22 A23 A25 A26 A27 A29 A32 A33
ADT_A30: A30 A34 A35 A36 A46 A47 A48 A49
ADT_A39: A39 A40 A41 A42
ADT_A50: A50 A51
ADT_A52: A52 A53
ADT_A54: A54 A55
ADT_A61: A61 A62
CCR_I16: I16 I17 I18
CRM_C01: C01 C02 C03 C04 C05 C06 C07 C08
CSU_C09: C09 C10 C11 C12
LSU_U12: U12 U13
MDM_T01: T01 T03 T05 T07 T09 T11
MDM_T02: T02 T04 T06 T08 T10
MFK_M01: M01 M02 M03 M04 M05 M06 M07 M08 M09 M10 M11 M12 M13 M14 M15 M16 M17 M18
MFQ_M01: M01 M02 M03 M04 M05 M06
MFR_M01: M01 M02 M03
ORF_R04: R02 R04
ORM_O01: *
ORR_O02: *
PEX_P07: P07 P08
PGL_PC6: PC6 PC7 PC8
PMU_B01: B01 B02
PMU_B04: B04 B05 B06
PPG_PCG: PCC PCG PCH PCJ
PPP_PCB: PCB PCD
PPR_PC1: PC1 PC2 PC3
QBP_Q21: Q21 Q22 Q23 Q24 Q25
QCN_J01: J01 J02
QRY_PC4: PC4 PC9 PCE PCK
QRY_Q01: Q01 Q26 Q27 Q28 Q29 Q30
RDE_O11: O11 O25
REF_I12: I12 I13 I14 I15
RPA_I08: I08 I09 I10 I11
RPI_I01: I01 I04
RPI_I04: I04
RQA_I08: I08 I09 I10 I11
RQC_I05: I05 I06
RQC_I06: I06
RQI_I01: I01 I02 I03 I07
RRE_O12: O12 O26
RRI_I12: I12 I13 I14 I15
RSP_K23: K23 K24
RSP_K24: K24
SDR_S31: S31 S36
SDR_S32: S32 S37
SIU_S12: S12 S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24 S26 S27
SLR_S28: S28 S29 S30 S34 S35
SRM_S01: S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11
SRR_S01: S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11
TCU_U10: U10 U11
"""

# The newest member of each family of data types: what a field withdrawn before the change is read as (chapter 2A).
FAMILIES = {
    "TS": "DTM",
    "CE": "CWE",
    "CN": "XCN",
    "PN": "XPN",
    "AD": "XAD",
    "TN": "XTN",
    "CK": "CX",
    "CK_ACCOUNT_NO": "CX",
    "CM_ABS_RANGE": "RFR",
    "CM_AUI": "AUI",
    "CM_BATCH_TOTAL": "NM",
    "CM_CCD": "CCD",
    "CM_DDI": "DDI",
    "CM_DIN": "DIN",
    "CM_DLD": "DLD",
    "CM_DLT": "DLT",
    "CM_DTN": "DTN",
    "CM_EIP": "EIP",
    "CM_ELD": "ELD",
    "CM_FILLER": "EI",
    "CM_FINANCE": "FC",
    "CM_GROUP_ID": "EI",
    "CM_INTERNAL_LOCATION": "PL",
    "CM_JOB_CODE": "JCC",
    "CM_LA1": "LA1",
    "CM_LICENSE_NO": "DLN",
    "CM_MOC": "MOC",
    "CM_MSG": "MSG",
    "CM_NDL": "NDL",
    "CM_OCD": "OCD",
    "CM_OSP": "OSP",
    "CM_PARENT_RESULT": "PRL",
    "CM_PAT_ID": "CX",
    "CM_PAT_ID_0192": "CX",
    "CM_PCF": "PCF",
    "CM_PEN": "MOP",
    "CM_PI": "PI",
    "CM_PIP": "PIP",
    "CM_PLACER": "EI",
    "CM_PLN": "PLN",
    "CM_PRACTITIONER": "XCN",
    "CM_PRL": "PRL",
    "CM_PTA": "PTA",
    "CM_RANGE": "NR",
    "CM_RFR": "RFR",
    "CM_RMC": "RMC",
    "CM_SPD": "SPD",
    "CM_SPS": "SPS",
    "CM_UVC": "UVC",
    "CM_VR": "VR",
    "CM_OS": "OSD",
    "CN_SIMPLE": "CNN",
    "CQ_SIMPLE": "CQ",
    "DR_SIMPLE": "DR",
}

# Fields whose newest type is not the one to read them by.
FIELD_TYPES = {
    "OBX_4": "ST",  # 2.8.2 made it OG, whose first component is the text it always was; senders write that text
    "PRL_2": "ST",  # the same, of the parent
    "RX1_9": "CWE",  # a CM of 2.1 that no later version defines
}

# Tables that hl7apy gives where the standard gives none.
NO_TABLES = {"9999", "XXXX"}

# Groups of one version that are groups of the newest under another name and would not be found by their first segment.
GROUP_RENAMES = {
    ("OML_O21", "ORDER_GENERAL"): "",  # 2.4 wrapped the orders once more; its children are the newest's own
}

# A choice of segments is no level of its own: its alternatives stand in the group around it.
INLINED = ("CHOICE", "_SUPPGRP")
